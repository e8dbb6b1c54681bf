/**
 * Whether authentic evidence comes from the very TPM, in the very course of its states, that the record remembers
 * (docs/spec/lease-clock.md, sections 2 to 4).
 */

import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import type { TpmEnrolmentRecord, TpmPolicy } from '../documents.ts';
import type { QuoteAttest } from '../layout.ts';
import type { SignerExpectations } from '../quote.ts';
import { appraiseRatchet } from './appraise.ts';
import { noteClockPace } from './clock-pace.ts';
import type { PresentedRatchet } from './evidence.ts';
import { authenticateRatchet } from './verify.ts';

export const continuityChecks = defineChecks('unacceptable', {
  'machine-frozen': {
    means: 'There were copies of this machine’s TPM, or it was set back; no copy gets anything any more.',
    hint: 'Find out what happened to the TPM. Then the lab enrols the machine anew: weightgate agent enrol --anew.',
    protects: 'After a copy was seen, nobody knows which of them is the machine.',
  },
  'tpm-ratchet-missing': {
    means:
      'The policy asks for the ratchet of the TPM and the evidence has none, or it has one without being asked.',
    hint: 'Update the agent; the challenge says whether the ratchet is wanted.',
    protects: 'Leaving the ratchet out would hide that a TPM is a copy.',
  },
});

/** Evidence whose quote is authentic. */
interface AuthenticEvidence {
  readonly evidence: { readonly ratchet: PresentedRatchet | null };
  readonly expected: SignerExpectations & { readonly extraData: Uint8Array };
  readonly quote: QuoteAttest;
}

interface Remembered {
  readonly record: Pick<TpmEnrolmentRecord, 'lastSeen' | 'frozen'>;
  /** Of the verification, POSIX seconds. */
  readonly time: number;
}

/**
 * Judges clock and ratchet against what is remembered.
 *
 * @returns the value of the ratchet, 32 bytes; null where the policy does not ask for it
 * @throws RefusalError `tpm-ratchet-*`, `layout-*`, `signature-*`
 */
export async function judgeContinuity(
  { evidence, expected, quote }: AuthenticEvidence,
  policy: TpmPolicy['ratchet'],
  { record, time }: Remembered,
  checks: Checklist,
): Promise<Uint8Array | null> {
  const { lastSeen, frozen } = record;
  checks.note(continuityChecks, 'machine-frozen', frozen === null, {
    field: 'enrolment.frozen',
    expected: 'a machine that is not frozen',
    found: frozen === null ? 'one' : `frozen by ${frozen}`,
  });
  noteClockPace(
    { ...quote.clockInfo, at: time },
    lastSeen && { ...lastSeen, clock: BigInt(lastSeen.clock) },
    checks,
  );
  const presented = demandPresence(evidence.ratchet, policy, checks);
  if (presented === null) return null;
  const value = await authenticateRatchet(presented, expected, checks);
  appraiseRatchet({ value, previous: presented.previous }, lastSeen?.ratchet ?? null, checks);
  return value;
}

function demandPresence(
  ratchet: PresentedRatchet | null,
  policy: TpmPolicy['ratchet'],
  checks: Checklist,
): PresentedRatchet | null {
  const isWanted = policy !== 'none';
  checks.demand(continuityChecks, 'tpm-ratchet-missing', (ratchet !== null) === isWanted, {
    field: 'ratchet',
    expected: isWanted ? 'the ratchet' : 'null',
    found: ratchet === null ? 'null' : 'a ratchet',
  });
  return ratchet;
}
