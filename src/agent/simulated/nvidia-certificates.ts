/** Certificates in the form of NVIDIA's: P-384 throughout, names in the order that each level writes them in. */

import { generateKeyPair, randomBytes, sign, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

import { authorityKeyIdentifier, extension, keyIdentifier, publicKeyOf } from './certificate-parts.ts';
import * as der from './der-writer.ts';

/** Attributes of names, by the abbreviations of RFC 4514 and X.520. */
const ATTRIBUTES = {
  serialNumber: { identifier: '2.5.4.5', write: der.printableText },
  C: { identifier: '2.5.4.6', write: der.printableText },
  ST: { identifier: '2.5.4.8', write: der.utf8Text },
  L: { identifier: '2.5.4.7', write: der.utf8Text },
  O: { identifier: '2.5.4.10', write: der.utf8Text },
  CN: { identifier: '2.5.4.3', write: der.utf8Text },
} as const;

export type NameAttributes = readonly (readonly [attribute: keyof typeof ATTRIBUTES, text: string])[];

export function nvidiaName(attributes: NameAttributes): der.DerValue {
  const parts = attributes.map(([attribute, text]) => {
    const { identifier, write } = ATTRIBUTES[attribute];
    return der.set(der.sequence(der.objectIdentifier(identifier), write(text)));
  });
  return der.sequence(...parts);
}

/** A key with the certificate that says whose it is. */
export interface CertifiedKey {
  readonly key: KeyObject;
  readonly name: NameAttributes;
  /** Big-endian. */
  readonly serialNumber: Uint8Array;
  /** DER. */
  readonly certificate: Uint8Array;
}

export interface CertificateRequest {
  readonly name: NameAttributes;
  /** Big-endian; random if it is not given. */
  readonly serialNumber?: Uint8Array;
  /** POSIX seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Besides the identifiers of keys. */
  readonly extensions: readonly der.DerValue[];
}

/** The last second that a certificate can name: devices do not expire (RFC 5280 section 4.1.2.5). */
export const NO_END = Date.UTC(9999, 11, 31, 23, 59, 59) / 1000;

/** From this year on times are GeneralizedTime (RFC 5280 section 4.1.2.5). */
const FIRST_GENERALIZED_SECOND = Date.UTC(2050, 0, 1) / 1000;
const SERIAL_NUMBER_BYTES = 16;

export const ecdsaWithSha384 = (): der.DerValue => der.sequence(der.objectIdentifier('1.2.840.10045.4.3.3'));

const generate = promisify(generateKeyPair);

export async function makeKey(): Promise<KeyObject> {
  return (await generate('ec', { namedCurve: 'P-384' })).privateKey;
}

/** Makes a key and has the issuer certify it; without an issuer the key certifies itself. */
export async function certify(request: CertificateRequest, issuer?: CertifiedKey): Promise<CertifiedKey> {
  const key = await makeKey();
  const { name, serialNumber = positiveSerialNumber() } = request;
  const signer = issuer?.key ?? key;
  const publicKey = publicKeyOf(key);
  const tbs = der.sequence(
    der.explicit(0, der.integer(2)),
    der.largeInteger(serialNumber),
    ecdsaWithSha384(),
    nvidiaName(issuer?.name ?? name),
    der.sequence(timeOf(request.notBefore), timeOf(request.notAfter)),
    nvidiaName(name),
    der.encoded(publicKey),
    der.explicit(
      3,
      der.sequence(
        ...request.extensions,
        extension('2.5.29.14', der.toDer(der.octetString(keyIdentifier(publicKey)))),
        authorityKeyIdentifier(signer),
      ),
    ),
  );
  return { key, name, serialNumber, certificate: signed(tbs, signer) };
}

/** What is signed, the algorithm, and the signature: the frame of certificates and OCSP answers. */
export function signed(tbs: der.DerValue, key: KeyObject, ...more: readonly der.DerValue[]): Uint8Array {
  const signature = der.bitString(sign('sha384', der.toDer(tbs), key));
  return der.toDer(der.sequence(tbs, ecdsaWithSha384(), signature, ...more));
}

/** keyCertSign and cRLSign. */
export const AUTHORITY_USAGE = { bits: 0x06, unused: 1 } as const;
/** keyCertSign. */
export const CERTIFICATE_USAGE = { bits: 0x04, unused: 2 } as const;
/** digitalSignature. */
export const SIGNATURE_USAGE = { bits: 0x80, unused: 7 } as const;

export function keyUsage({ bits, unused }: { bits: number; unused: number }): der.DerValue {
  return extension('2.5.29.15', der.toDer(der.bitString(Uint8Array.of(bits), unused)), true);
}

/** basicConstraints of an authority. */
export function authority(pathLength?: number): der.DerValue {
  const limits = pathLength === undefined ? [] : [der.integer(pathLength)];
  return extension('2.5.29.19', der.toDer(der.sequence(der.boolean(true), ...limits)), true);
}

/** basicConstraints of what is none. */
export function noAuthority(): der.DerValue {
  return extension('2.5.29.19', der.toDer(der.sequence()), true);
}

function timeOf(posixSeconds: number): der.DerValue {
  return posixSeconds < FIRST_GENERALIZED_SECOND
    ? der.utcTime(posixSeconds)
    : der.generalizedTime(posixSeconds);
}

/** Never zero in its first byte, so that every number is of the same length. */
function positiveSerialNumber(): Uint8Array {
  const bytes = new Uint8Array(randomBytes(SERIAL_NUMBER_BYTES));
  bytes[0] = 0x40 | ((bytes[0] ?? 0) & 0x3f);
  return bytes;
}
