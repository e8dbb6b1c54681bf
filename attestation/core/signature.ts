/**
 * Verification of RSA and ECDSA signatures by the platform's WebCrypto. The scheme is always an argument that comes
 * from a trusted place (a key's own public area, a certificate's issuer), never from the signature alone.
 */

import { toBase64, toHex } from './bytes.ts';
import { contentOf, readElement, Tag, unsignedIntegerOf } from './der.ts';
import { COORDINATE_BYTES, publicKeyRefusals, uncompressedPoint } from './public-key.ts';
import type { CurveName, EcPublicKey, PublicKey, RsaPublicKey } from './public-key.ts';
import { defineRefusals } from './refusal.ts';

export const signatureRefusals = defineRefusals('inauthentic', {
  'signature-length': {
    means: 'A signature has not the length that its key demands.',
    hint: 'The signature was cut or belongs to another key.',
  },
  'signature-key-type': {
    means: 'The signature scheme does not belong to the type of the key.',
    hint: 'An RSA key makes RSA signatures, an EC key ECDSA ones: the two were mixed.',
  },
});

export type HashName = 'SHA-256' | 'SHA-384' | 'SHA-512';

/** There is no SHA-1: a scheme that uses it cannot be expressed. */
export interface SignatureScheme {
  readonly algorithm: 'rsassa-pkcs1' | 'rsa-pss' | 'ecdsa';
  readonly hash: HashName;
}

const HASH_BYTES: Readonly<Record<HashName, number>> = { 'SHA-256': 32, 'SHA-384': 48, 'SHA-512': 64 };

/** WebCrypto refuses memory that is shared between threads; nothing here ever is. */
export function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

/** Base64url without padding, as JSON Web Keys have it (RFC 7515 section 2). */
export function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replace(/=+$/, '').replaceAll('+', '-').replaceAll('/', '_');
}

/**
 * Whether the signature holds.
 *
 * @param signature RSA: as long as the modulus; ECDSA: r and s, each as wide as the curve's field
 * @throws RefusalError `signature-*` when the three do not fit together, `public-key-invalid`
 */
export async function verifySignature(
  key: PublicKey,
  scheme: SignatureScheme,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  if ((key.type === 'ec') !== (scheme.algorithm === 'ecdsa')) {
    throw signatureRefusals.error('signature-key-type', {
      field: 'signature',
      expected: `a scheme for ${key.type} keys`,
      found: scheme.algorithm,
    });
  }
  const expected = key.type === 'rsa' ? key.modulus.length : 2 * COORDINATE_BYTES[key.curve];
  if (signature.length !== expected) {
    throw signatureRefusals.error('signature-length', {
      field: 'signature',
      expected: `${expected} bytes`,
      found: `${signature.length} bytes`,
    });
  }
  return key.type === 'rsa'
    ? await verifyRsa(key, scheme, signature, message)
    : await verifyEcdsa(key, scheme.hash, signature, message);
}

async function verifyRsa(
  key: RsaPublicKey,
  scheme: SignatureScheme,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  const isPss = scheme.algorithm === 'rsa-pss';
  const name = isPss ? 'RSA-PSS' : 'RSASSA-PKCS1-v1_5';
  const imported = await importPublicKey(() =>
    crypto.subtle.importKey(
      'jwk',
      { kty: 'RSA', n: toBase64Url(key.modulus), e: 'AQAB' },
      { name, hash: scheme.hash },
      false,
      ['verify'],
    ),
  );
  const verify = (saltLength: number): Promise<boolean> =>
    crypto.subtle.verify({ name, saltLength }, imported, unshared(signature), unshared(message));
  const hashBytes = HASH_BYTES[scheme.hash];
  // TPM 2.0 Part 1, B.7: newer TPMs take a salt as long as the hash, older ones the longest that fits.
  return (await verify(hashBytes)) || (isPss && (await verify(key.modulus.length - 2 - hashBytes)));
}

async function verifyEcdsa(
  key: EcPublicKey,
  hash: HashName,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  return crypto.subtle.verify(
    { name: 'ECDSA', hash },
    await importedPoint(key),
    unshared(signature),
    unshared(message),
  );
}

/** Taking a key costs a tenth of verifying with it; a key that is used again is the same object. */
const importedPoints = new WeakMap<EcPublicKey, ImportedKey>();

async function importedPoint(key: EcPublicKey): Promise<ImportedKey> {
  const known = importedPoints.get(key);
  if (known !== undefined) return known;
  const algorithm = { name: 'ECDSA', namedCurve: key.curve };
  const imported = await importPublicKey(() =>
    crypto.subtle.importKey('raw', uncompressedPoint(key), algorithm, false, ['verify']),
  );
  importedPoints.set(key, imported);
  return imported;
}

/** The platform's key type, under whichever name its type declarations know it. */
type ImportedKey = Parameters<typeof crypto.subtle.verify>[1];

/** WebCrypto checks that a point lies on its curve when it takes the key. @throws RefusalError `public-key-invalid` */
export async function importPublicKey(load: () => Promise<ImportedKey>): Promise<ImportedKey> {
  try {
    return await load();
  } catch (cause) {
    throw publicKeyRefusals.error(
      'public-key-invalid',
      { field: 'publicKey', expected: 'a valid key', found: 'one that the platform refuses' },
      { cause },
    );
  }
}

/**
 * r and s as one value of fixed width. Leading zeros may be missing or too many on the wire; the number counts.
 *
 * @throws RefusalError `signature-length` when a number is wider than the curve's field
 */
export function joinEcdsaSignature(curve: CurveName, r: Uint8Array, s: Uint8Array): Uint8Array {
  const width = COORDINATE_BYTES[curve];
  const joined = new Uint8Array(2 * width);
  joined.set(leftPadded(r, width, 'signature.r'), 0);
  joined.set(leftPadded(s, width, 'signature.s'), width);
  return joined;
}

/** A big-endian number in exactly so many bytes. @throws RefusalError `signature-length` when it does not fit */
export function leftPadded(number: Uint8Array, width: number, field: string): Uint8Array {
  const firstDigit = number.findIndex((byte) => byte !== 0);
  const digits = firstDigit < 0 ? new Uint8Array(0) : number.subarray(firstDigit);
  if (digits.length > width) {
    throw signatureRefusals.error('signature-length', {
      field,
      expected: `a number of at most ${width} bytes`,
      found: toHex(digits.subarray(0, 16)),
    });
  }
  const padded = new Uint8Array(width);
  padded.set(digits, width - digits.length);
  return padded;
}

/** ECDSA-Sig-Value (RFC 3279 section 2.2.3) as r and s of fixed width. @throws RefusalError `der-*` */
export function readEcdsaSignature(der: Uint8Array, curve: CurveName, path: string): Uint8Array {
  const reader = contentOf(readElement(der, Tag.sequence, path));
  const r = unsignedIntegerOf(reader.next(Tag.integer, 'r'));
  const s = unsignedIntegerOf(reader.next(Tag.integer, 's'));
  reader.end();
  return joinEcdsaSignature(curve, r, s);
}
