/**
 * The signatures that notes carry, verified in Node and in browsers.
 *
 * Ed25519 libraries disagree about points that are not canonical, of low order, or of mixed order. Only a malicious
 * key can produce those, but then two auditors of one log would disagree (TL-8). So the encodings are judged here, and
 * the equation is left to WebCrypto, whose implementations all use the one without cofactor; that of `@noble/curves`
 * multiplies by the cofactor and accepts more.
 */

import { ed25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';

const PUBLIC_KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

/**
 * @param publicKey 32 bytes; comes from whoever runs the log
 * @param signature comes from whoever sent the note
 * @returns whether the signature holds; false for any length or encoding that is not allowed
 */
export async function verifyEd25519Portably(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (publicKey.length !== PUBLIC_KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  if (!isSoundPoint(publicKey) || !isSoundPoint(signature.subarray(0, 32))) return false;
  const key = await crypto.subtle.importKey('raw', Uint8Array.from(publicKey), 'Ed25519', false, ['verify']);
  return await crypto.subtle.verify('Ed25519', key, Uint8Array.from(signature), Uint8Array.from(message));
}

function isSoundPoint(encoding: Uint8Array): boolean {
  try {
    return !ed25519.Point.fromBytes(encoding).isSmallOrder();
  } catch {
    return false;
  }
}

/**
 * ECDSA over P-256 with SHA-256, as logs older than ours sign.
 *
 * @param point uncompressed, 65 bytes
 * @param signature DER
 */
export function verifyEcdsaP256(point: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return p256.verify(signature, message, point, { format: 'der', lowS: false });
  } catch {
    return false;
  }
}
