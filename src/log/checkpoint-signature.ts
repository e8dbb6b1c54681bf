/**
 * Signatures over checkpoints (WT-1 to WT-5): those that cover the text of the note, and those that cover a structure of
 * their own, made of what the text says: cosignatures of witnesses (C2SP tlog-cosignature) and tree heads of RFC 6962.
 */

import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import {
  bigEndian,
  constantBytes,
  decode,
  encode,
  fixedBytes,
  sizedBytes,
  structure,
} from '../../attestation/core/layout.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { parseCheckpointBody, type CheckpointBody } from './checkpoint-body.ts';
import type { LineKinds } from './note.ts';
import { verifyEcdsaP256, verifyEd25519Portably } from './signature.ts';
import { pointOfKey, signsNotes, verifyNoteSignature, type VerifierKey } from './verifier-key.ts';

const MAX_TIME = (1n << 63n) - 1n;
const ED25519_BYTES = 64;
export const ML_DSA_44_BYTES = 2420;

const cosignatureLayout = (signatureBytes: number) =>
  structure({ time: bigEndian.u64({ max: MAX_TIME }), signature: fixedBytes(signatureBytes) });

/** What follows on the key identifier in the line of a cosigner, by the algorithm of its key. */
const COSIGNATURE_LAYOUTS = {
  'ed25519-cosignature': cosignatureLayout(ED25519_BYTES),
  'ml-dsa-44-cosignature': cosignatureLayout(ML_DSA_44_BYTES),
} as const;

type CosigningAlgorithm = keyof typeof COSIGNATURE_LAYOUTS;

export interface Cosignature {
  /** POSIX seconds. */
  readonly time: bigint;
  readonly signature: Uint8Array;
}

/** C2SP tlog-cosignature, "ML-DSA-44": what is signed. */
const SUBTREE_LABEL = toUtf8('subtree/v1\n\0');
const subtreeLayout = structure({
  label: constantBytes(SUBTREE_LABEL),
  cosigner: sizedBytes(bigEndian.u8()),
  time: bigEndian.u64({ max: MAX_TIME }),
  origin: sizedBytes(bigEndian.u8()),
  start: bigEndian.u64(),
  end: bigEndian.u64(),
  root: fixedBytes(32),
});

/** The line of a log of RFC 6962 (C2SP static-ct-api): a time, then digitally-signed of RFC 5246 with SHA-256 and ECDSA. */
const treeHeadLineLayout = structure({
  milliseconds: bigEndian.u64(),
  hash: bigEndian.u8({ oneOf: [4] }),
  algorithm: bigEndian.u8({ oneOf: [3] }),
  signature: sizedBytes(bigEndian.u16()),
});

/** TreeHeadSignature (RFC 6962, section 3.5): version 1 is 0, the type of a tree hash is 1. */
const treeHeadLayout = structure({
  version: bigEndian.u8({ oneOf: [0] }),
  type: bigEndian.u8({ oneOf: [1] }),
  milliseconds: bigEndian.u64(),
  size: bigEndian.u64(),
  root: fixedBytes(32),
});

/** Whether keys of this kind are those of witnesses. */
export function isCosigner(
  key: VerifierKey,
): key is VerifierKey & { readonly algorithm: CosigningAlgorithm } {
  return Object.hasOwn(COSIGNATURE_LAYOUTS, key.algorithm);
}

/** Whether keys of this kind are those of logs. */
export function isLogKey(key: VerifierKey): boolean {
  return signsNotes(key) || key.algorithm === 'rfc6962-tree-head';
}

/** Reads what a cosigner's line claims. @throws RefusalError `layout-*` */
export function readCosignature(payload: Uint8Array, algorithm: CosigningAlgorithm): Cosignature {
  return decode(COSIGNATURE_LAYOUTS[algorithm], payload, 'cosignature');
}

/** The payload of a cosigner's line. @throws RefusalError `layout-value` */
export function writeCosignature(cosignature: Cosignature, algorithm: CosigningAlgorithm): Uint8Array {
  return encode(COSIGNATURE_LAYOUTS[algorithm], cosignature, 'cosignature');
}

/** What a cosigner signs with Ed25519. @param text of the note, its last line feed included */
export function cosignedText(text: string, time: bigint): Uint8Array {
  return toUtf8(`cosignature/v1\ntime ${time}\n${text}`);
}

/** What a cosigner signs with ML-DSA-44. @throws RefusalError `layout-value` when a name is longer than 255 bytes */
export function cosignedSubtree(cosigner: string, body: CheckpointBody, time: bigint): Uint8Array {
  const names = { cosigner: toUtf8(cosigner), origin: toUtf8(body.origin) };
  const head = { label: SUBTREE_LABEL, time, start: 0n, end: body.size, root: body.root };
  return encode(subtreeLayout, { ...head, ...names }, 'subtree');
}

/**
 * Verifies one line of a checkpoint, whoever signed it.
 *
 * @param text of the note, its last line feed included
 * @param payload of the line, after the key identifier
 * @returns false also for a text that is no checkpoint where the signature is not over the text itself
 */
async function verifyCheckpointSignature(
  key: VerifierKey,
  text: string,
  payload: Uint8Array,
): Promise<boolean> {
  try {
    return signsNotes(key)
      ? await verifyNoteSignature(key, text, payload)
      : await verifyStructure(key, text, parseCheckpointBody(text), payload);
  } catch (error) {
    // What cannot be read was not signed.
    if (isRefusal(error)) return false;
    throw error;
  }
}

async function verifyStructure(
  key: VerifierKey,
  text: string,
  body: CheckpointBody,
  payload: Uint8Array,
): Promise<boolean> {
  if (key.algorithm === 'rfc6962-tree-head') return verifyTreeHead(key, body, payload);
  if (!isCosigner(key)) return false;
  const { time, signature } = readCosignature(payload, key.algorithm);
  if (key.algorithm === 'ed25519-cosignature') {
    return await verifyEd25519Portably(key.publicKey, cosignedText(text, time), signature);
  }
  return ml_dsa44.verify(signature, cosignedSubtree(key.name, body, time), key.publicKey);
}

/** WT-5. */
function verifyTreeHead(
  key: VerifierKey,
  { origin, size, root }: CheckpointBody,
  payload: Uint8Array,
): boolean {
  if (origin !== key.name) return false;
  const { milliseconds, signature } = decode(treeHeadLineLayout, payload, 'treeHead');
  const head = encode(treeHeadLayout, { version: 0, type: 1, milliseconds, size, root }, 'treeHead');
  return verifyEcdsaP256(pointOfKey(key), head, signature);
}

/** The lines of a log on its own checkpoint. */
export const LOG_LINES: LineKinds = { takes: isLogKey, verify: verifyCheckpointSignature };
/** The lines of witnesses on the checkpoint of a log. */
export const COSIGNATURE_LINES: LineKinds = { takes: isCosigner, verify: verifyCheckpointSignature };
/** Both. */
export const CHECKPOINT_LINES: LineKinds = {
  takes: (key) => isLogKey(key) || isCosigner(key),
  verify: verifyCheckpointSignature,
};
