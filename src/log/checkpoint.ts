/** Checkpoints (C2SP tlog-checkpoint v1; TL-9, TL-10): what a log signs about itself. */

import { equalBytes, excerpt, fromBase64, toBase64, toHex } from '../../attestation/core/bytes.ts';
import { RefusalError, defineRefusals } from '../../attestation/core/refusal.ts';
import { EMPTY_ROOT, HASH_BYTES, verifyConsistency } from './merkle.ts';
import { openNote, signNote, type NoteSigner } from './note.ts';
import { parseUint64 } from './uint64.ts';
import type { VerifierKey } from './verifier-key.ts';

export const checkpointShapeRefusals = defineRefusals('malformed', {
  'log-checkpoint-malformed': {
    means: 'A signed note is not a checkpoint.',
    hint: 'Give the checkpoint of a log: three lines with origin, size and root before the signatures.',
  },
});

export const checkpointRefusals = defineRefusals('inauthentic', {
  'log-checkpoint-origin': {
    means: 'A checkpoint is of another log than the one asked for.',
    hint: 'Check the address and the configured origin. The right key over another origin is a replay.',
  },
});

/** A state of a log. */
export interface TreeHead {
  readonly size: bigint;
  /** 32 bytes. */
  readonly root: Uint8Array;
}

/** What the text of a checkpoint claims. */
export interface CheckpointBody extends TreeHead {
  /** The name of the log. */
  readonly origin: string;
  /** Lines of other logs that ours never writes; nothing here acts on them. */
  readonly extensionLines: readonly string[];
}

declare const verified: unique symbol;

/** A checkpoint of the log that was asked for, signed by a trusted key. Made by `openCheckpoint` alone. */
export interface VerifiedCheckpoint extends CheckpointBody {
  readonly [verified]: true;
  readonly signedBy: readonly VerifierKey[];
  /** The signed note, as it was received. */
  readonly note: string;
}

/**
 * Reads the text of a checkpoint; nothing of it is trusted yet.
 *
 * @throws RefusalError `log-checkpoint-malformed`, `log-number-malformed`, `base64-malformed`
 */
export function parseCheckpointBody(text: string): CheckpointBody {
  const [origin = '', size, root, ...rest] = text.split('\n');
  if (size === undefined || root === undefined || rest.pop() !== '' || rest.includes('') || origin === '') {
    refuse('checkpoint', 'lines with origin, size and root, none of them empty', excerpt(text));
  }
  const body = {
    origin,
    size: parseUint64(size, 'checkpoint.size'),
    root: fromBase64(root, 'checkpoint.root'),
    extensionLines: rest,
  };
  if (body.root.length !== HASH_BYTES) {
    refuse('checkpoint.root', `${HASH_BYTES} bytes`, `${body.root.length} bytes`);
  }
  if (body.size === 0n && !equalBytes(body.root, EMPTY_ROOT)) {
    refuse('checkpoint.root', 'the root of the empty tree', toHex(body.root));
  }
  return body;
}

/** The text that is signed. */
export function formatCheckpointBody(origin: string, head: TreeHead): string {
  return `${origin}\n${head.size}\n${toBase64(head.root)}\n`;
}

/** Signs a state of a log, once for each signer. @returns the signed note */
export async function signCheckpoint(
  origin: string,
  head: TreeHead,
  signers: readonly NoteSigner[],
): Promise<string> {
  return await signNote(formatCheckpointBody(origin, head), signers);
}

/** Whom a reader trusts for one log. All of it comes from the reader's configuration, never from the log. */
export interface LogTrust {
  readonly origin: string;
  readonly keys: readonly VerifierKey[];
}

/**
 * Reads and verifies a checkpoint.
 *
 * @param note comes from whoever serves the log
 * @throws RefusalError `log-note-*`, `log-checkpoint-*`, `log-number-malformed`, `base64-malformed`
 */
export async function openCheckpoint(note: string, trust: LogTrust): Promise<VerifiedCheckpoint> {
  const { text, signedBy } = await openNote(note, trust.keys);
  const body = parseCheckpointBody(text);
  if (body.origin !== trust.origin) {
    throw checkpointRefusals.error('log-checkpoint-origin', {
      field: 'checkpoint.origin',
      expected: excerpt(trust.origin),
      found: excerpt(body.origin),
    });
  }
  return { ...body, signedBy, note } as unknown as VerifiedCheckpoint;
}

/**
 * How the later of two checkpoints relates to the earlier: the same state, an extension that the proof shows, an
 * extension that no valid proof shows or another root for one size, a smaller tree than was seen, or another log.
 */
export type CheckpointFinding = 'same' | 'consistent' | 'split-view' | 'smaller' | 'different-logs';

/**
 * Compares two checkpoints that one monitor has seen (TL-27). Both are kept when the answer is `split-view`: with their
 * signatures they prove the misbehaviour to anybody.
 *
 * @param proof consistency proof from the earlier to the later; from whoever serves the log
 */
export function compareCheckpoints(
  earlier: VerifiedCheckpoint,
  later: VerifiedCheckpoint,
  proof: readonly Uint8Array[],
): CheckpointFinding {
  if (earlier.origin !== later.origin) return 'different-logs';
  if (earlier.size === later.size) return equalBytes(earlier.root, later.root) ? 'same' : 'split-view';
  if (earlier.size > later.size) return 'smaller';
  try {
    verifyConsistency({
      firstSize: earlier.size,
      firstRoot: earlier.root,
      secondSize: later.size,
      secondRoot: later.root,
      proof,
    });
    return 'consistent';
  } catch (error) {
    if (error instanceof RefusalError) return 'split-view';
    throw error;
  }
}

function refuse(field: string, expected: string, found: string): never {
  throw checkpointShapeRefusals.error('log-checkpoint-malformed', { field, expected, found });
}
