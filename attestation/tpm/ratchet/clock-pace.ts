/**
 * Whether a TPM's clock goes as fast as the verifier's (docs/spec/lease-clock.md, LC-29). A clock may be set forward by
 * whoever has the owner's authorization, and a TPM whose clock was set is no measure of a lease any more.
 */

import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';

export const clockPaceChecks = defineChecks('unacceptable', {
  'tpm-clock-ahead': {
    means: 'The TPM’s clock went on much further than the verifier’s since the last accepted quote.',
    hint: 'Somebody set it (TPM2_ClockSet). Restart the machine: after a restart the comparison begins anew.',
    protects: 'A clock that anybody sets says nothing about how long a lease was held.',
  },
});

/** A moment of the TPM and the verifier's time at which it was judged. */
export interface JudgedMoment {
  /** Milliseconds. */
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  /** POSIX seconds. */
  readonly at: number;
}

/** Part 1, section 36: a TPM's clock is right within 15 %. */
export const CLOCK_TOLERANCE_PERCENT = 15n;
/** Evidence may be as old as a challenge when it is judged, and commands take their time. */
const SLACK_MILLISECONDS = 180_000n;

/** @param last of the last accepted quote; null before the first */
export function noteClockPace(now: JudgedMoment, last: JudgedMoment | null, checks: Checklist): void {
  if (last?.resetCount !== now.resetCount || last.restartCount !== now.restartCount) return;
  const passed = BigInt(Math.max(0, now.at - last.at)) * 1000n;
  const most = (passed * (100n + CLOCK_TOLERANCE_PERCENT)) / 100n + SLACK_MILLISECONDS;
  const found = now.clock - last.clock;
  checks.note(clockPaceChecks, 'tpm-clock-ahead', found <= most, {
    field: 'attest.clockInfo.clock',
    expected: `at most ${most} ms after the last accepted quote`,
    found: `${found} ms`,
  });
}
