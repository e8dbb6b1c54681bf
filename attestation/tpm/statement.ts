/**
 * The signature over a TPM's own statement (TPMS_ATTEST), whatever it states: the scheme and the key are those that the
 * verifier knows, and the signature itself decides about neither.
 */

import { joinEcdsaSignature, verifySignature } from '../core/signature.ts';
import type { SigningKey } from './attestation-key.ts';
import { Algorithm } from './layout.ts';
import type { Signature } from './layout.ts';

const SCHEME_NAMES = {
  [Algorithm.rsassa]: 'rsassa-pkcs1',
  [Algorithm.rsapss]: 'rsa-pss',
  [Algorithm.ecdsa]: 'ecdsa',
} as const;

/** Whether a signature names the scheme and the hash of the key. */
export function isOfScheme(received: Signature, { scheme, hash }: SigningKey): boolean {
  return SCHEME_NAMES[received.algorithm] === scheme.algorithm && received.hash === hash.algorithm;
}

/**
 * Whether a signature holds over the statement's bytes. Ask {@link isOfScheme} first.
 *
 * @throws RefusalError `signature-*`, `public-key-invalid`
 */
export function statementSignatureHolds(
  received: Signature,
  key: SigningKey,
  attest: Uint8Array,
): Promise<boolean> {
  return verifySignature(key.publicKey, key.scheme, signatureBytes(received, key), attest);
}

function signatureBytes(received: Signature, { publicKey }: SigningKey): Uint8Array {
  if (received.algorithm !== Algorithm.ecdsa) return received.signature;
  if (publicKey.type !== 'ec') throw new TypeError('an ECDSA signature passed for an RSA key');
  return joinEcdsaSignature(publicKey.curve, received.r, received.s);
}
