/**
 * The time of a lease (docs/spec/lease-clock.md, section 1): a fold over readings of the machine's clocks, free of the
 * machine. Time goes on as the fastest of the clocks says, and it ends where they contradict each other or where the
 * machine was stopped, restarted or set back under a lease.
 */

import { defineRefusals, type RefusalFacts } from '../../attestation/core/refusal.ts';

export const leaseClockRefusals = defineRefusals('unacceptable', {
  'lease-clock-restarted': {
    means: 'The TPM was reset, or the machine resumed, while a lease was held.',
    hint: 'A lease ends with the start of the machine that it was given to: start the agent again.',
  },
  'lease-clock-suspended': {
    means: 'The machine slept while a lease was held.',
    hint: 'Keep the machine from suspending while a model runs; start the agent again.',
  },
  'lease-clock-rollback': {
    means: 'A clock of the machine went back while a lease was held.',
    hint: 'The machine or its TPM was set back to an earlier state. Find out by whom before the agent starts again.',
  },
  'lease-clock-ahead': {
    means: 'The clock of the TPM is far ahead of the clocks of the kernel.',
    hint: 'The TPM’s clock was set, or the machine stood still without noticing, as a paused virtual machine does.',
  },
  'lease-clock-behind': {
    means: 'The clock of the TPM is far behind the clocks of the kernel.',
    hint: 'The TPM stood still while the machine ran, as a simulated one does that was stopped or exchanged.',
  },
  'lease-clock-unsafe': {
    means: 'The TPM does not vouch for its clock, as after an unclean stop.',
    hint: 'Wait until the TPM has caught up, about 70 minutes at most, and start the agent again.',
  },
  'lease-clock-silent': {
    means: 'The TPM has not told its clock for too long.',
    hint: 'See whether another program holds the TPM; the kernel’s resource manager (device:/dev/tpmrm0) shares it.',
  },
});

/** Two clocks of the kernel that nobody sets; milliseconds. */
export interface KernelReading {
  /** CLOCK_BOOTTIME: goes on while the machine sleeps. */
  readonly bootMilliseconds: number;
  /** CLOCK_MONOTONIC: stops while the machine sleeps. */
  readonly awakeMilliseconds: number;
}

/** What TPM2_ReadClock says. */
export interface TpmClockReading {
  readonly clockMilliseconds: number;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly safe: boolean;
}

/** A reading of the TPM and the kernel's time between which it was made. */
export interface TimedTpmReading extends TpmClockReading {
  readonly askedAtBootMilliseconds: number;
  readonly answeredAtBootMilliseconds: number;
}

export interface LeaseTime {
  /** Since the beginning, by the fastest clock. Never goes back. */
  readonly elapsedMilliseconds: number;
  readonly first: KernelReading;
  readonly last: KernelReading;
  /** Undefined on a machine whose lease time rests on the kernel alone. */
  readonly tpm: { readonly first: TimedTpmReading; readonly last: TimedTpmReading } | undefined;
}

/** How far two clocks of one kernel may be apart besides sleep: `/proc/uptime` counts hundredths of a second. */
const KERNEL_TOLERANCE_MILLISECONDS = 1_000;
/** LC-6. */
export const SILENCE_LIMIT_MILLISECONDS = 120_000;
/** TCG "TPM 2.0 Library Specification" Part 1, section 36: a TPM's clock is right within 15 %. */
const TPM_TOLERANCE = 0.15;
const TPM_SLACK_MILLISECONDS = 5_000;

/** The beginning of lease time. @throws RefusalError `lease-clock-unsafe` */
export function beginLeaseTime(kernel: KernelReading, tpm: TimedTpmReading | undefined): LeaseTime {
  if (tpm !== undefined) requireSafe(tpm);
  return {
    elapsedMilliseconds: 0,
    first: kernel,
    last: kernel,
    tpm: tpm && { first: tpm, last: tpm },
  };
}

/** Goes on by a reading of the kernel's clocks. @throws RefusalError `lease-clock-*` */
export function passKernelTime(time: LeaseTime, kernel: KernelReading): LeaseTime {
  const { first, last, tpm } = time;
  const back = Math.max(
    last.bootMilliseconds - kernel.bootMilliseconds,
    last.awakeMilliseconds - kernel.awakeMilliseconds,
  );
  if (back > KERNEL_TOLERANCE_MILLISECONDS) {
    throw ended('lease-clock-rollback', 'kernel', 'clocks that never go back', `${seconds(back)} back`);
  }
  const boot = kernel.bootMilliseconds - first.bootMilliseconds;
  const awake = kernel.awakeMilliseconds - first.awakeMilliseconds;
  if (boot - awake > KERNEL_TOLERANCE_MILLISECONDS) {
    throw ended(
      'lease-clock-suspended',
      'kernel',
      'a machine that is awake',
      `${seconds(boot - awake)} asleep`,
    );
  }
  if (tpm !== undefined) requireHeard(tpm.last, kernel);
  const byTpm = tpm === undefined ? 0 : elapsedByTpm(tpm, kernel);
  const elapsedMilliseconds = Math.max(time.elapsedMilliseconds, boot, awake, byTpm);
  return { ...time, elapsedMilliseconds, last: kernel };
}

/** Goes on by a reading of the TPM. @throws RefusalError `lease-clock-*` */
export function passTpmTime(time: LeaseTime, reading: TimedTpmReading): LeaseTime {
  const { tpm } = time;
  if (tpm === undefined)
    throw new TypeError('a reading of a TPM for lease time that rests on the kernel alone');
  requireSameStart(tpm.first, reading);
  requireSafe(reading);
  const back = tpm.last.clockMilliseconds - reading.clockMilliseconds;
  if (back > 0) {
    throw ended('lease-clock-rollback', 'tpm.clock', 'a clock that never goes back', `${seconds(back)} back`);
  }
  requirePace(tpm.first, reading);
  return { ...time, tpm: { first: tpm.first, last: reading } };
}

/** What the TPM said, and what the kernel says has passed since. */
function elapsedByTpm({ first, last }: NonNullable<LeaseTime['tpm']>, kernel: KernelReading): number {
  const since = Math.max(0, kernel.bootMilliseconds - last.answeredAtBootMilliseconds);
  return last.clockMilliseconds - first.clockMilliseconds + since;
}

function requireHeard(last: TimedTpmReading, { bootMilliseconds }: KernelReading): void {
  const silence = bootMilliseconds - last.askedAtBootMilliseconds;
  if (silence <= SILENCE_LIMIT_MILLISECONDS) return;
  const expected = `an answer every ${seconds(SILENCE_LIMIT_MILLISECONDS)}`;
  throw ended('lease-clock-silent', 'tpm', expected, `none for ${seconds(silence)}`);
}

function requireSafe({ safe }: TpmClockReading): void {
  if (safe) return;
  throw ended('lease-clock-unsafe', 'tpm.safe', 'a clock that the TPM vouches for', 'one that it does not');
}

function requireSameStart(first: TpmClockReading, now: TpmClockReading): void {
  if (now.resetCount === first.resetCount && now.restartCount === first.restartCount) return;
  const text = ({ resetCount, restartCount }: TpmClockReading): string =>
    `${resetCount} resets, ${restartCount} restarts`;
  throw ended('lease-clock-restarted', 'tpm', text(first), text(now));
}

/** Counted from the first reading, so that many small jumps are seen as well as a large one. */
function requirePace(first: TimedTpmReading, now: TimedTpmReading): void {
  const passed = now.clockMilliseconds - first.clockMilliseconds;
  const most = now.answeredAtBootMilliseconds - first.askedAtBootMilliseconds;
  const least = now.askedAtBootMilliseconds - first.answeredAtBootMilliseconds;
  const ahead = passed - most * (1 + TPM_TOLERANCE);
  const behind = least * (1 - TPM_TOLERANCE) - passed;
  const isAhead = ahead > TPM_SLACK_MILLISECONDS;
  if (!isAhead && behind <= TPM_SLACK_MILLISECONDS) return;
  const expected = `about ${seconds(most)}, as the kernel says`;
  throw ended(isAhead ? 'lease-clock-ahead' : 'lease-clock-behind', 'tpm.clock', expected, seconds(passed));
}

type LeaseClockCode = keyof typeof leaseClockRefusals.codes;

function ended(code: LeaseClockCode, field: string, expected: string, found: string): Error {
  const facts: RefusalFacts = { field: `clock.${field}`, expected, found };
  return leaseClockRefusals.error(code, facts);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
