/** Public keys of the algorithms that attestation uses, and their SubjectPublicKeyInfo form (RFC 5280, 3279, 5480). */

import { concatBytes, toHex } from './bytes.ts';
import {
  byteStringOf,
  contentOf,
  objectIdentifierOf,
  readElement,
  smallIntegerOf,
  Tag,
  unsignedIntegerOf,
} from './der.ts';
import type { DerReader } from './der.ts';
import { defineRefusals } from './refusal.ts';

export const publicKeyRefusals = defineRefusals('inauthentic', {
  'public-key-unsupported': {
    means: 'A public key is of an algorithm, curve or size that is not accepted.',
    hint: 'Accepted are RSA of 2048 to 4096 bits with exponent 65537 and ECDSA on P-256, P-384 or P-521.',
  },
  'public-key-invalid': {
    means: 'A public key is not a valid key of its algorithm, for example a point off its curve.',
    hint: 'The key was altered, or made to confuse a verifier.',
  },
});

export type CurveName = 'P-256' | 'P-384' | 'P-521';

export interface RsaPublicKey {
  readonly type: 'rsa';
  /** Big-endian, without leading zero bytes. */
  readonly modulus: Uint8Array;
}

export interface EcPublicKey {
  readonly type: 'ec';
  readonly curve: CurveName;
  /** Coordinates, big-endian, each as wide as the field. */
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

/** RSA keys have the exponent 65537: no other is accepted anywhere. */
export type PublicKey = RsaPublicKey | EcPublicKey;

/** Bytes of one coordinate, and of r and s, on each curve. */
export const COORDINATE_BYTES: Readonly<Record<CurveName, number>> = {
  'P-256': 32,
  'P-384': 48,
  'P-521': 66,
};

const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const CURVES: ReadonlyMap<string, CurveName> = new Map([
  ['1.2.840.10045.3.1.7', 'P-256'],
  ['1.3.132.0.34', 'P-384'],
  ['1.3.132.0.35', 'P-521'],
]);

function unsupported(field: string, expected: string, found: string): Error {
  return publicKeyRefusals.error('public-key-unsupported', { field, expected, found });
}

/** Makes an RSA key under the floors. @throws RefusalError `public-key-unsupported`, `public-key-invalid` */
export function rsaPublicKey(modulus: Uint8Array, exponent: number, field: string): RsaPublicKey {
  const firstByte = modulus[0] ?? 0;
  const bits = modulus.length * 8 - (Math.clz32(firstByte) - 24);
  if (bits < 2048 || bits > 4096)
    throw unsupported(field, 'an RSA modulus of 2048 to 4096 bits', `${bits} bits`);
  if (exponent !== 65537) throw unsupported(field, 'the RSA exponent 65537', String(exponent));
  if (((modulus.at(-1) ?? 0) & 1) === 0 || firstByte === 0) {
    throw publicKeyRefusals.error('public-key-invalid', {
      field,
      expected: 'an odd modulus without leading zeros',
      found: 'another',
    });
  }
  return { type: 'rsa', modulus };
}

/**
 * Reads a SubjectPublicKeyInfo. That a point lies on its curve is found out where the key is first used.
 *
 * @throws RefusalError `der-*`, `public-key-*`
 */
export function readSubjectPublicKeyInfo(bytes: Uint8Array, path: string): PublicKey {
  const reader = contentOf(readElement(bytes, Tag.sequence, path));
  const algorithm = contentOf(reader.next(Tag.sequence, 'algorithm'));
  const identifier = objectIdentifierOf(algorithm.next(Tag.objectIdentifier, 'algorithm'));
  const readKey = { [RSA_ENCRYPTION]: readRsaKey, [EC_PUBLIC_KEY]: readEcKey }[identifier];
  if (readKey === undefined) throw unsupported(path, 'rsaEncryption or id-ecPublicKey', identifier);
  const key = readKey(algorithm, reader, path);
  algorithm.end();
  reader.end();
  return key;
}

function readRsaKey(algorithm: DerReader, reader: DerReader, path: string): PublicKey {
  algorithm.next(Tag.null, 'parameters');
  const bits = byteStringOf(reader.next(Tag.bitString, 'subjectPublicKey'));
  const key = contentOf(readElement(bits, Tag.sequence, `${path}.subjectPublicKey`));
  const modulus = unsignedIntegerOf(key.next(Tag.integer, 'modulus'));
  const exponent = smallIntegerOf(key.next(Tag.integer, 'publicExponent'));
  key.end();
  return rsaPublicKey(modulus, exponent, path);
}

function readEcKey(algorithm: DerReader, reader: DerReader, path: string): PublicKey {
  const identifier = objectIdentifierOf(algorithm.next(Tag.objectIdentifier, 'namedCurve'));
  const curve = CURVES.get(identifier);
  if (curve === undefined) throw unsupported(path, 'P-256, P-384 or P-521', identifier);
  const point = byteStringOf(reader.next(Tag.bitString, 'subjectPublicKey'));
  const width = COORDINATE_BYTES[curve];
  if (point.length !== 1 + 2 * width || point[0] !== 4) {
    throw publicKeyRefusals.error('public-key-invalid', {
      field: path,
      expected: `an uncompressed point of ${1 + 2 * width} bytes`,
      found: `${point.length} bytes that start with ${toHex(point.subarray(0, 1))}`,
    });
  }
  return { type: 'ec', curve, x: point.subarray(1, 1 + width), y: point.subarray(1 + width) };
}

/** The uncompressed form of a point (SEC 1, section 2.3.3). */
export function uncompressedPoint(key: EcPublicKey): Uint8Array<ArrayBuffer> {
  return concatBytes(Uint8Array.of(4), key.x, key.y);
}
