/**
 * Signatures as others make them, by keys as others write them. The product signs statements with Ed25519 alone; these are for
 * judging public vectors (decision 0179).
 */

import { fromBase64, fromHex, fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { parseForeignJson } from '../../attestation/core/foreign-json.ts';
import { readPem } from '../../attestation/core/pem.ts';
import {
  readSubjectPublicKeyInfo,
  type EcPublicKey,
  type PublicKey,
} from '../../attestation/core/public-key.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { readEcdsaSignature, verifySignature, type HashName } from '../../attestation/core/signature.ts';
import { verifyEd25519Portably } from '../../src/log/signature.ts';
import { demand } from './vector-tlog-case.ts';

const HASHES: Readonly<Record<string, HashName>> = {
  'P-256': 'SHA-256',
  'P-384': 'SHA-384',
  'P-521': 'SHA-512',
};
const MAX_DEPTH = 32;

/** What is signed is verified by its text, and no member of it twice. */
export function readForeignJson(bytes: Uint8Array): unknown {
  const parsed = parseForeignJson(fromUtf8(bytes, 'json'), MAX_DEPTH);
  demand(parsed.problem === undefined, `JSON: ${parsed.problem ?? ''}`);
  return parsed.value;
}

/** Base64 of either alphabet, padded, as DSSE has it. */
export function fromEitherBase64(text: string): Uint8Array {
  return fromBase64(text.replaceAll('-', '+').replaceAll('_', '/'), 'base64');
}

/** Whether a DER signature holds, with the hash that belongs to the curve of the key. */
export async function verifyDer(
  key: PublicKey,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (key.type !== 'ec') return false;
  try {
    const raw = readEcdsaSignature(signature, key.curve, 'signature');
    return await verifyRaw(key, message, raw);
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}

async function verifyRaw(key: EcPublicKey, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const hash = HASHES[key.curve] ?? 'SHA-256';
  return await verifySignature(key, { algorithm: 'ecdsa', hash }, signature, message);
}

/** A key of a vector: an algorithm by name, and a point, a key or PEM. */
export interface ForeignKey {
  readonly name: string;
  readonly algorithm: string;
  readonly public_key?: string;
  readonly public_key_pem?: string;
}

/** The public key itself, by which keys are told apart. */
export const keyText = (key: ForeignKey): string => key.public_key ?? key.public_key_pem ?? '';

export async function verifyForeign(
  key: ForeignKey,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (key.algorithm === 'ed25519') {
    return await verifyEd25519Portably(fromHex(key.public_key ?? '', 'key'), message, signature);
  }
  const point = key.public_key_pem === undefined ? pointOf(key.public_key ?? '') : pemKey(key.public_key_pem);
  if (key.algorithm.endsWith('-raw'))
    return point.type === 'ec' && (await verifyRaw(point, message, signature));
  return await verifyDer(point, message, signature);
}

/** @param point uncompressed, on P-256, in hex */
function pointOf(point: string): PublicKey {
  const bytes = fromHex(point, 'key');
  return { type: 'ec', curve: 'P-256', x: bytes.subarray(1, 33), y: bytes.subarray(33) };
}

export function pemKey(pem: string): PublicKey {
  return readSubjectPublicKeyInfo(readPem(toUtf8(pem), 'PUBLIC KEY', 'key'), 'key');
}
