/** Checkpoints, verified (C2SP tlog-checkpoint v1; TL-9, TL-10): what a log signs about itself. */

import { equalBytes, excerpt } from '../../attestation/core/bytes.ts';
import { RefusalError, defineRefusals } from '../../attestation/core/refusal.ts';
import {
  formatCheckpointBody,
  parseCheckpointBody,
  type CheckpointBody,
  type TreeHead,
} from './checkpoint-body.ts';
import { LOG_LINES } from './checkpoint-signature.ts';
import { verifyConsistency } from './merkle.ts';
import { openNote, signNote, type NoteSigner } from './note.ts';
import type { VerifierKey } from './verifier-key.ts';

export const checkpointRefusals = defineRefusals('inauthentic', {
  'log-checkpoint-origin': {
    means: 'A checkpoint is of another log than the one asked for.',
    hint: 'Check the address and the configured origin. The right key over another origin is a replay.',
  },
});

declare const verified: unique symbol;

/** A checkpoint of the log that was asked for, signed by a trusted key. Made by `openCheckpoint` alone. */
export interface VerifiedCheckpoint extends CheckpointBody {
  readonly [verified]: true;
  readonly signedBy: readonly VerifierKey[];
  /** The signed note, as it was received. */
  readonly note: string;
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
  const { text, signedBy } = await openNote(note, trust.keys, LOG_LINES);
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
