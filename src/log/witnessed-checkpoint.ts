/** Checkpoints of which a quorum of witnesses has seen that they extend what they saw before (WT-4, WT-8). */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals, isRefusal } from '../../attestation/core/refusal.ts';
import type { VerifiedCheckpoint } from './checkpoint.ts';
import { COSIGNATURE_LINES, isCosigner, readCosignature } from './checkpoint-signature.ts';
import { openNote } from './note.ts';
import type { VerifierKey } from './verifier-key.ts';
import { isQuorumMet, type WitnessPolicy } from './witness-policy.ts';

export const quorumRefusals = defineRefusals('unavailable', {
  'log-quorum-missing': {
    means: 'A checkpoint lacks the cosignatures of the witnesses that the policy demands.',
    hint: 'Try again when the witnesses answer. If they go on refusing this log, ask them what they saw.',
  },
});

/** A witness that has cosigned. */
export interface VerifiedCosignature {
  readonly key: VerifierKey;
  /** POSIX seconds, by the clock of the witness. */
  readonly time: bigint;
}

/**
 * Verifies the lines of the given witnesses on a note; those of others are passed over.
 *
 * @param note comes from whoever serves the log
 * @param keys of witnesses that the reader trusts
 * @returns none where no witness has signed
 * @throws RefusalError `log-note-malformed`, `log-note-signature`, `base64-malformed`
 */
export async function verifyCosignatures(
  note: string,
  keys: readonly VerifierKey[],
): Promise<readonly VerifiedCosignature[]> {
  try {
    const { lines } = await openNote(note, keys, COSIGNATURE_LINES);
    return lines.flatMap(({ key, signature }) =>
      isCosigner(key) ? [{ key, time: readCosignature(signature, key.algorithm).time }] : [],
    );
  } catch (error) {
    if (isRefusal(error) && error.refusal.code === 'log-note-unsigned') return [];
    throw error;
  }
}

/**
 * How fresh a quorum is: of the witnesses that meet it with the newest cosignatures, the time of the oldest.
 *
 * @returns POSIX seconds by the clock of that witness; undefined where the quorum is not met, or nobody is needed
 */
export function quorumTime(
  policy: WitnessPolicy,
  cosignatures: readonly VerifiedCosignature[],
): bigint | undefined {
  const names = new Set<string>();
  let oldest: bigint | undefined;
  for (const { key, time } of cosignatures.toSorted((one, other) => (one.time > other.time ? -1 : 1))) {
    if (isQuorumMet(policy, names)) return oldest;
    for (const witness of policy.witnesses) if (witness.key === key) names.add(witness.name);
    oldest = time;
  }
  return isQuorumMet(policy, names) ? oldest : undefined;
}

/**
 * Demands the quorum of a policy for a checkpoint of the log itself.
 *
 * @returns the cosignatures by which it is met, of all witnesses of the policy
 * @throws RefusalError `log-quorum-missing`, and those of `verifyCosignatures`
 */
export async function requireQuorum(
  { note, origin }: VerifiedCheckpoint,
  policy: WitnessPolicy,
): Promise<readonly VerifiedCosignature[]> {
  const keys = policy.witnesses.map(({ key }) => key);
  const cosignatures = await verifyCosignatures(note, keys);
  const signers = new Set(cosignatures.map(({ key }) => key));
  const names = policy.witnesses.filter(({ key }) => signers.has(key)).map(({ name }) => name);
  if (isQuorumMet(policy, new Set(names))) return cosignatures;
  throw quorumRefusals.error('log-quorum-missing', {
    field: `checkpoint of ${excerpt(origin)}`,
    expected: `the quorum ${excerpt(policy.quorum ?? '')}`,
    found: names.length === 0 ? 'no cosignature' : `cosignatures of ${excerpt(names.join(', '))}`,
  });
}
