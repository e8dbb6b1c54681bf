/**
 * Ed25519 (RFC 8032) with one verdict everywhere.
 *
 * Libraries disagree about points of low order and about encodings of points that are not canonical. Nobody can
 * produce those with an honest key; a malicious key could make two verifiers of one log disagree (W10). Both are
 * refused here before the platform is asked.
 */

import { createPublicKey, verify as platformVerify } from 'node:crypto';

import { concatBytes, fromHex, toHex } from '../../attestation/core/bytes.ts';

/** Whoever holds a private key: this process, a file or a hardware token. */
export interface Ed25519Signer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** @returns the signature, 64 bytes */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** All encodings of points of low order, the sign bit cleared, including those that are not canonical. */
const LOW_ORDER_ENCODINGS: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);

/** The DER of SubjectPublicKeyInfo up to the key itself (RFC 8410 section 4). */
const SUBJECT_PUBLIC_KEY_INFO_PREFIX = fromHex('302a300506032b6570032100', 'ed25519.prefix');

function isLowOrder(point: Uint8Array): boolean {
  const withoutSign = Uint8Array.from(point);
  withoutSign[31] = (withoutSign[31] ?? 0) & 0x7f;
  return LOW_ORDER_ENCODINGS.has(toHex(withoutSign));
}

/**
 * @param publicKey 32 bytes; comes from whoever registered the key
 * @param signature 64 bytes; comes from whoever sent the message
 * @returns whether the signature holds; false for any length or encoding that is not allowed
 */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  if (isLowOrder(publicKey) || isLowOrder(signature.subarray(0, 32))) return false;
  const key = createPublicKey({
    key: Buffer.from(concatBytes(SUBJECT_PUBLIC_KEY_INFO_PREFIX, publicKey)),
    format: 'der',
    type: 'spki',
  });
  return platformVerify(null, message, key, signature);
}
