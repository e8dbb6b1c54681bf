/**
 * What only the server knows when it decides: the leases that it gave to a machine, and whether it holds the key. Looked up
 * before, kept with the decision, and judged here without anything else (docs/spec/replay.md, RD-1).
 */

import type { Refusal } from '../../attestation/core/refusal.ts';
import type { JudgedEvidence } from './evidence.ts';
import type { ReleaseRequest } from './messages.ts';
import { releaseRefusals, renewalRefusals } from './refusals.ts';
import type { LeaseRecord } from './storage.ts';

export interface StandingFacts {
  /** Starts of this machine that hold leases which have not ended. */
  readonly liveStarts: readonly string[];
  /** The lease that the request would renew; null where none is known, or none is named. */
  readonly renewedLease: LeaseRecord | null;
  readonly holdsModelKey: boolean;
}

/** Who holds, or asks for, a lease. */
type Holder = Pick<JudgedEvidence, 'machine' | 'start'>;

/** Of a lease: to whom it was granted. */
export function leaseHolder(
  { lab, manifestDigest }: Pick<ReleaseRequest, 'lab' | 'manifestDigest'>,
  machine: string,
): Pick<LeaseRecord, 'lab' | 'manifestDigest' | 'machine'> {
  return { lab, manifestDigest, machine };
}

/** @param at POSIX seconds @returns why a request that the policy permits is refused all the same; none as a rule */
export function judgeStanding(
  facts: StandingFacts,
  message: ReleaseRequest,
  holder: Holder & { readonly exclusive: boolean },
  at: number,
): readonly Refusal[] {
  const standing =
    message.renews === null
      ? liveLeaseRefusal(facts, holder)
      : renewalRefusal(facts.renewedLease, message, holder, at);
  if (standing !== undefined) return [standing];
  if (facts.holdsModelKey) return [];
  const missing = { field: 'manifestDigest', expected: 'a model version whose key is here', found: 'none' };
  return [releaseRefusals.refusal('release-key-missing', missing)];
}

/** LC-33: who was started again while a lease of before goes on may be a copy of who still runs. */
function liveLeaseRefusal(
  { liveStarts }: StandingFacts,
  { start, exclusive }: Holder & { readonly exclusive: boolean },
): Refusal | undefined {
  if (!exclusive || start === '') return undefined;
  const other = liveStarts.find((live) => live !== start);
  if (other === undefined) return undefined;
  const facts = { field: 'evidence', expected: `the start ${other} of its last lease`, found: start };
  return renewalRefusals.refusal('machine-lease-live', facts);
}

/** RP-30, LC-16. */
function renewalRefusal(
  lease: LeaseRecord | null,
  message: ReleaseRequest,
  { machine, start }: Holder,
  at: number,
): Refusal | undefined {
  const renews = message.renews ?? '';
  if (lease?.lease !== renews || lease.endsAt <= at) {
    const facts = { field: 'renews', expected: 'a lease that has not ended', found: renews };
    return renewalRefusals.refusal('renewal-unknown', facts);
  }
  const expected = leaseHolder(message, machine);
  for (const member of ['lab', 'manifestDigest', 'machine'] as const) {
    if (lease[member] === expected[member]) continue;
    const facts = { field: `renews.${member}`, expected: lease[member], found: expected[member] };
    return renewalRefusals.refusal('renewal-mismatch', facts);
  }
  if (lease.start !== start) {
    const facts = { field: 'renews.start', expected: lease.start, found: start };
    return renewalRefusals.refusal('renewal-restarted', facts);
  }
  return undefined;
}
