/** Lease time as it passes on this machine: the clocks of the kernel whenever somebody asks, that of the TPM at intervals. */

import { isRefusal, type Refusal } from '../../attestation/core/refusal.ts';
import type { Clock, SleepingClock } from '../platform/clock.ts';
import {
  beginLeaseTime,
  passKernelTime,
  passTpmTime,
  type KernelReading,
  type LeaseTime,
  type TimedTpmReading,
  type TpmClockReading,
} from './lease-clock.ts';

/** How the TPM's clock is read; refusals and whatever else it throws count as silence. */
export type TpmClockSource = () => Promise<TpmClockReading>;

/** LC-5: how often the TPM is asked, and how old its answer may be when a caller is answered. */
const READ_EVERY_MILLISECONDS = 10_000;
const STALE_AFTER_MILLISECONDS = 30_000;

/** What lease time rests on, for people. */
export interface LeaseClockState {
  readonly sources: readonly ('kernel' | 'tpm')[];
  readonly elapsedSeconds: number;
  /** Since the TPM last answered; null where lease time rests on the kernel alone. */
  readonly tpmReadSecondsAgo: number | null;
  readonly resetCount: number | null;
  readonly restartCount: number | null;
}

export class LeaseClock {
  private readonly kernel: SleepingClock;
  private readonly tpm: TpmClockSource | undefined;
  private time: LeaseTime;
  private over: Refusal | undefined;
  private reading: Promise<void> | undefined;
  private nextReadAt: number;

  private constructor(kernel: SleepingClock, tpm: TpmClockSource | undefined, time: LeaseTime) {
    this.kernel = kernel;
    this.tpm = tpm;
    this.time = time;
    this.nextReadAt = READ_EVERY_MILLISECONDS;
  }

  /**
   * Begins lease time, before the first lease is asked for.
   *
   * @param tpm undefined on a machine whose TPM is not used
   * @throws RefusalError `lease-clock-unsafe`, and what the first reading of the TPM throws
   */
  static async begin(kernel: SleepingClock, tpm: TpmClockSource | undefined): Promise<LeaseClock> {
    const first = tpm === undefined ? undefined : await timed(kernel, tpm);
    return new LeaseClock(kernel, tpm, beginLeaseTime(readKernel(kernel), first));
  }

  /** Since the beginning. Stands still once lease time is over. */
  elapsedMilliseconds(): number {
    this.attempt(() => passKernelTime(this.time, readKernel(this.kernel)));
    return this.time.elapsedMilliseconds;
  }

  /** Why lease time is over; undefined while it goes on. No lease holds after it. */
  get endedBy(): Refusal | undefined {
    this.elapsedMilliseconds();
    return this.over;
  }

  /** Lease time as a clock, from which leases are counted. */
  asClock(clock: Clock): Clock {
    return {
      posixSeconds: () => clock.posixSeconds(),
      monotonicMilliseconds: () => this.elapsedMilliseconds(),
    };
  }

  /** To be called often: reads the TPM when it is time to. */
  tick(): void {
    if (this.elapsedMilliseconds() >= this.nextReadAt) void this.readTpm();
  }

  /** To be awaited before a caller is answered: reads the TPM where its last answer is old. */
  async confirm(): Promise<void> {
    if (this.silenceMilliseconds() > STALE_AFTER_MILLISECONDS) await this.readTpm();
  }

  /** Reads the TPM. One reading at a time; that it fails shows in the silence that it leaves (LC-6). */
  readTpm(): Promise<void> {
    this.reading ??= this.readOnce().finally(() => {
      this.reading = undefined;
    });
    return this.reading;
  }

  get state(): LeaseClockState {
    const { tpm, elapsedMilliseconds } = this.time;
    return {
      sources: tpm === undefined ? ['kernel'] : ['tpm', 'kernel'],
      elapsedSeconds: Math.floor(elapsedMilliseconds / 1000),
      tpmReadSecondsAgo: tpm === undefined ? null : Math.floor(this.silenceMilliseconds() / 1000),
      resetCount: tpm?.last.resetCount ?? null,
      restartCount: tpm?.last.restartCount ?? null,
    };
  }

  private silenceMilliseconds(): number {
    const { tpm } = this.time;
    if (tpm === undefined) return 0;
    return readKernel(this.kernel).bootMilliseconds - tpm.last.askedAtBootMilliseconds;
  }

  private async readOnce(): Promise<void> {
    this.nextReadAt = this.time.elapsedMilliseconds + READ_EVERY_MILLISECONDS;
    if (this.tpm === undefined) return;
    const reading = await timed(this.kernel, this.tpm).catch(() => undefined);
    if (reading === undefined) return;
    this.attempt(() => passTpmTime(this.time, reading));
  }

  private attempt(pass: () => LeaseTime): void {
    if (this.over !== undefined) return;
    try {
      this.time = pass();
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.over = error.refusal;
    }
  }
}

function readKernel(clock: SleepingClock): KernelReading {
  return { bootMilliseconds: clock.monotonicMilliseconds(), awakeMilliseconds: clock.awakeMilliseconds() };
}

async function timed(kernel: SleepingClock, tpm: TpmClockSource): Promise<TimedTpmReading> {
  const askedAtBootMilliseconds = kernel.monotonicMilliseconds();
  const reading = await tpm();
  return { ...reading, askedAtBootMilliseconds, answeredAtBootMilliseconds: kernel.monotonicMilliseconds() };
}
