/** Ed25519 signers from a seed (RFC 8032 section 5.1.5), by the platform's own crypto. */

import { createPrivateKey, createPublicKey, sign } from 'node:crypto';

import { concatBytes, fromHex } from '../../attestation/core/bytes.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';

export const SEED_BYTES = 32;

/** The DER of PKCS #8 up to the seed (RFC 8410 section 7). */
const PRIVATE_KEY_PREFIX = fromHex('302e020100300506032b657004220420', 'ed25519.prefix');

/** A new seed. Whoever calls zeroes it after its last use. */
export function newSeed(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(SEED_BYTES));
}

/** @param seed 32 bytes; copied into the platform's key, so the caller can zero it at once */
export function signerFromSeed(seed: Uint8Array): Ed25519Signer {
  const document = concatBytes(PRIVATE_KEY_PREFIX, seed);
  const privateKey = createPrivateKey({ key: Buffer.from(document.buffer), format: 'der', type: 'pkcs8' });
  document.fill(0);
  const encoded = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return {
    publicKey: new Uint8Array(encoded.subarray(-32)),
    sign: (message) => Promise.resolve(new Uint8Array(sign(null, message, privateKey))),
  };
}
