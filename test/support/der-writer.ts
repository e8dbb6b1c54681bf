/**
 * DER for tests, piece by piece, so that every rule of a structure can be broken on purpose. certificate-writer.ts is the
 * simpler way to certificates that are as they should be.
 */

import { sign, type KeyObject } from 'node:crypto';

import { concatBytes, toUtf8 } from '../../attestation/core/bytes.ts';
import { contextTag, Tag } from '../../attestation/core/der.ts';

export type Der = Uint8Array<ArrayBuffer>;

/** One element of less than 64 KiB. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Der {
  const content = concatBytes(...contents);
  return concatBytes(Uint8Array.of(tag, ...lengthOctets(content.length)), content);
}

function lengthOctets(length: number): readonly number[] {
  if (length < 0x80) return [length];
  return length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
}

export const sequence = (...contents: readonly Uint8Array[]): Der => der(Tag.sequence, ...contents);
export const set = (...contents: readonly Uint8Array[]): Der => der(Tag.set, ...contents);
export const explicit = (number: number, ...contents: readonly Uint8Array[]): Der =>
  der(contextTag(number, 'constructed'), ...contents);
/** @param content the octets as they stand: two's complement, shortest form or not */
export const integer = (...content: readonly number[]): Der => der(Tag.integer, Uint8Array.from(content));
export const octetString = (content: Uint8Array): Der => der(Tag.octetString, content);
export const bitString = (content: Uint8Array, unusedBits = 0): Der =>
  der(Tag.bitString, Uint8Array.of(unusedBits), content);
export const utcTime = (text: string): Der => der(Tag.utcTime, toUtf8(text));
export const TRUE = der(Tag.boolean, Uint8Array.of(0xff));
export const FALSE = der(Tag.boolean, Uint8Array.of(0));
export const NULL = der(Tag.null);
export const NOTHING: Der = new Uint8Array(0);

export function identifier(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return der(Tag.objectIdentifier, Uint8Array.from([40 * first + second, ...rest].flatMap(base128)));
}

function base128(arc: number): readonly number[] {
  const digits = [arc & 0x7f];
  for (let left = arc >>> 7; left > 0; left >>>= 7) digits.unshift(0x80 | (left & 0x7f));
  return digits;
}

/** A Name with one attribute in each of its sets. */
export function nameOf(...attributes: readonly (readonly [type: string, text: string])[]): Der {
  return sequence(
    ...attributes.map(([type, text]) => set(sequence(identifier(type), der(Tag.utf8String, toUtf8(text))))),
  );
}

export const commonName = (text: string): Der => nameOf(['2.5.4.3', text]);

/** One Extension; `critical` undefined leaves the member out. */
export function extension(name: string, value: Uint8Array, critical?: boolean): Der {
  const flag = critical === undefined ? NOTHING : critical ? TRUE : FALSE;
  return sequence(identifier(name), flag, octetString(value));
}

export const ECDSA_SHA256 = sequence(identifier('1.2.840.10045.4.3.2'));

/** The members of a certificate, each as its whole encoding, in their order. */
export interface CertificateMembers {
  readonly version: Uint8Array;
  readonly serialNumber: Uint8Array;
  readonly innerAlgorithm: Uint8Array;
  readonly issuer: Uint8Array;
  readonly validity: Uint8Array;
  readonly subject: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly extensions: Uint8Array;
  readonly rest: Uint8Array;
}

const NO_KEY = sequence(sequence(identifier('1.2.840.10045.2.1')), bitString(Uint8Array.of(4)));

export const MEMBERS: CertificateMembers = {
  version: explicit(0, integer(2)),
  serialNumber: integer(7),
  innerAlgorithm: ECDSA_SHA256,
  issuer: commonName('issuer'),
  validity: sequence(utcTime('260101000000Z'), utcTime('270101000000Z')),
  subject: commonName('subject'),
  publicKey: NO_KEY,
  extensions: explicit(3, sequence()),
  rest: NOTHING,
};

export function tbsOf(changes: Partial<CertificateMembers> = {}): Der {
  const all = { ...MEMBERS, ...changes };
  const { version, serialNumber, innerAlgorithm, issuer, validity, subject, publicKey } = all;
  return sequence(
    ...[version, serialNumber, innerAlgorithm, issuer, validity, subject, publicKey],
    ...[all.extensions, all.rest],
  );
}

/** What every signed structure of X.509 looks like. */
export function signed(tbs: Uint8Array, algorithm: Uint8Array, signature: Uint8Array, ...rest: Der[]): Der {
  return sequence(tbs, algorithm, bitString(signature), ...rest);
}

/** Signed with ECDSA and SHA-256. */
export function signedBy(key: KeyObject, tbs: Uint8Array): Der {
  return signed(tbs, ECDSA_SHA256, sign('sha256', tbs, key));
}
