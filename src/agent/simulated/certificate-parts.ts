/** Parts that the certificates of every simulated vendor are made of (RFC 5280). */

import { createHash, createPublicKey, type KeyObject } from 'node:crypto';

import * as der from './der-writer.ts';

/** SubjectPublicKeyInfo, DER. */
export function publicKeyOf(key: KeyObject): Uint8Array {
  return createPublicKey(key).export({ type: 'spki', format: 'der' });
}

/** RFC 7093 section 2: the first 160 bits of a SHA-256. */
export function keyIdentifier(publicKey: Uint8Array): Uint8Array {
  return createHash('sha256').update(publicKey).digest().subarray(0, 20);
}

export function authorityKeyIdentifier(key: KeyObject): der.DerValue {
  const identifier = der.implicit(0, keyIdentifier(publicKeyOf(key)));
  return extension('2.5.29.35', der.toDer(der.sequence(identifier)));
}

export function extension(identifier: string, value: Uint8Array, critical = false): der.DerValue {
  const marks = critical ? [der.boolean(true)] : [];
  return der.sequence(der.objectIdentifier(identifier), ...marks, der.octetString(value));
}
