/**
 * Appraisal of an authentic ratchet (docs/spec/lease-clock.md, LC-26): whether this TPM is the one that the last
 * accepted evidence came from, or an older state or a copy of it.
 */

import { equalBytes, toHex } from '../../core/bytes.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';

export const ratchetAppraisalChecks = defineChecks('unacceptable', {
  'tpm-ratchet-fork': {
    means: 'The ratchet of the TPM has a past that the last accepted evidence is no part of.',
    hint: 'The TPM was cleared, set back, or there are copies of it. Find out which; then the lab enrols the machine anew.',
    protects: 'Copies of one TPM, and states that were brought back, could all get keys and leases.',
  },
  'tpm-ratchet-unmoved': {
    means: 'The ratchet of the TPM stands where the last accepted evidence left it.',
    hint: 'An answer was lost, or two agents asked at once: ask for a new challenge; the agent does so by itself.',
    protects: 'A copy that never moves its ratchet could be used beside the machine for ever.',
  },
});

/** A ratchet whose value was certified. */
export interface AuthenticRatchet {
  readonly value: Uint8Array;
  /** From the machine, and proven to lead to `value` by one step. */
  readonly previous: Uint8Array;
}

/**
 * Notes whether the ratchet moved by exactly one step since the last accepted evidence.
 *
 * @param remembered value of the last accepted evidence, 32 bytes; null before the first
 */
export function appraiseRatchet(
  { value, previous }: AuthenticRatchet,
  remembered: Uint8Array | null,
  checks: Checklist,
): void {
  const expected = remembered === null ? 'any, as this is the first' : `one step after ${toHex(remembered)}`;
  const isUnmoved = remembered !== null && equalBytes(value, remembered);
  const isNext = remembered === null || equalBytes(previous, remembered);
  checks.note(ratchetAppraisalChecks, 'tpm-ratchet-fork', isNext || isUnmoved, {
    field: 'ratchet.previous',
    expected,
    found: `one step after ${toHex(previous)}`,
  });
  checks.note(ratchetAppraisalChecks, 'tpm-ratchet-unmoved', !isUnmoved, {
    field: 'ratchet.attest.attested.nvContents',
    expected,
    found: toHex(value),
  });
}
