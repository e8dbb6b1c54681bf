import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  beginLeaseTime,
  passKernelTime,
  passTpmTime,
  type KernelReading,
  type LeaseTime,
  type TimedTpmReading,
} from '../../src/agent/lease-clock.ts';
import { LeaseClock } from '../../src/agent/lease-clock-reader.ts';
import { refusalCode } from '../support/refusal-code.ts';

const MINUTE = 60_000;
const YEARS = 10 * 365 * 24 * 60 * MINUTE;

const kernelAt = (milliseconds: number, asleep = 0): KernelReading => ({
  bootMilliseconds: 1_000_000 + milliseconds,
  awakeMilliseconds: 900_000 + milliseconds - asleep,
});

const tpmAt = (milliseconds: number, changes: Partial<TimedTpmReading> = {}): TimedTpmReading => ({
  clockMilliseconds: 5_000_000 + milliseconds,
  resetCount: 7,
  restartCount: 1,
  safe: true,
  askedAtBootMilliseconds: 1_000_000 + milliseconds,
  answeredAtBootMilliseconds: 1_000_000 + milliseconds,
  ...changes,
});

const begun = beginLeaseTime(kernelAt(0), tpmAt(0));
const withoutTpm = beginLeaseTime(kernelAt(0), undefined);

describe('lease time', () => {
  it('LC-1: passes as all clocks say when they agree', () => {
    const time = passKernelTime(passTpmTime(begun, tpmAt(MINUTE)), kernelAt(MINUTE));
    expect(time.elapsedMilliseconds).toBe(MINUTE);
  });

  it('LC-1: passes as the fastest clock says', () => {
    const fast = tpmAt(MINUTE, { clockMilliseconds: 5_000_000 + 66_000 });
    const time = passKernelTime(passTpmTime(begun, fast), kernelAt(90_000));
    expect(time.elapsedMilliseconds).toBe(66_000 + 30_000);
    const slow = tpmAt(MINUTE, { clockMilliseconds: 5_000_000 + 54_000 });
    expect(passKernelTime(passTpmTime(begun, slow), kernelAt(MINUTE)).elapsedMilliseconds).toBe(MINUTE);
  });

  const kernelRows: readonly (readonly [string, string, LeaseTime, KernelReading])[] = [
    ['LC-3', 'lease-clock-suspended', withoutTpm, kernelAt(MINUTE, 1_500)],
    ['LC-3', 'lease-clock-suspended', begun, kernelAt(MINUTE, 1_500)],
    ['LC-4', 'lease-clock-rollback', passKernelTime(withoutTpm, kernelAt(MINUTE)), kernelAt(50_000)],
    ['LC-6', 'lease-clock-silent', begun, kernelAt(120_001)],
  ];
  it.each(kernelRows)('%s: ends with %s', (_, code, time, reading) => {
    expect(refusalCode(() => passKernelTime(time, reading))).toBe(code);
  });

  it('LC-3: many short sleeps count together', () => {
    const once = passKernelTime(withoutTpm, kernelAt(MINUTE, 600));
    expect(refusalCode(() => passKernelTime(once, kernelAt(2 * MINUTE, 1_200)))).toBe(
      'lease-clock-suspended',
    );
  });

  it('LC-6: a machine without a TPM is never silent', () => {
    expect(passKernelTime(withoutTpm, kernelAt(YEARS)).elapsedMilliseconds).toBe(YEARS);
  });

  const tpmRows: readonly (readonly [string, string, Partial<TimedTpmReading>])[] = [
    ['LC-2', 'lease-clock-restarted', { resetCount: 8 }],
    ['LC-2', 'lease-clock-restarted', { resetCount: 6 }],
    ['LC-2', 'lease-clock-restarted', { restartCount: 2 }],
    ['LC-2', 'lease-clock-restarted', { restartCount: 0 }],
    ['LC-4', 'lease-clock-rollback', { clockMilliseconds: 5_000_000 - 1 }],
    ['LC-4', 'lease-clock-rollback', { clockMilliseconds: 5_000_000 - YEARS }],
    ['LC-7', 'lease-clock-ahead', { clockMilliseconds: 5_000_000 + YEARS }],
    ['LC-7', 'lease-clock-ahead', { clockMilliseconds: 5_000_000 + MINUTE * 1.15 + 5_001 }],
    ['LC-7', 'lease-clock-behind', { clockMilliseconds: 5_000_000 + MINUTE * 0.85 - 5_001 }],
    ['LC-8', 'lease-clock-unsafe', { safe: false }],
  ];
  it.each(tpmRows)('%s: ends with %s at %o', (_, code, changes) => {
    expect(refusalCode(() => passTpmTime(begun, tpmAt(MINUTE, changes)))).toBe(code);
  });

  it('LC-8: does not begin on a clock that the TPM does not vouch for', () => {
    expect(refusalCode(() => beginLeaseTime(kernelAt(0), tpmAt(0, { safe: false })))).toBe(
      'lease-clock-unsafe',
    );
  });

  it('LC-7: a slow answer is no jump', () => {
    const slow = tpmAt(MINUTE, {
      clockMilliseconds: 5_000_000 + MINUTE - 20_000,
      askedAtBootMilliseconds: 1_000_000 + MINUTE - 30_000,
    });
    expect(passTpmTime(begun, slow).tpm?.last).toEqual(slow);
  });

  type Step = { readonly wait: number; readonly rate: number; readonly tpm: boolean };
  const steps = fc.array(
    fc.record<Step>({
      wait: fc.integer({ min: 0, max: 20_000 }),
      rate: fc.double({ min: 0.9, max: 1.1, noNaN: true }),
      tpm: fc.boolean(),
    }),
    { maxLength: 60 },
  );

  it('LC-1: never passes slower than the kernel, nor 15 % and a moment faster, on an honest machine', () => {
    fc.assert(
      fc.property(steps, (waits) => {
        let [now, clock, heard] = [0, 0, 0];
        let time = begun;
        for (const { wait, rate, tpm } of waits) {
          now += wait;
          clock += Math.round(wait * rate);
          if (tpm || now - heard > 90_000) {
            time = passTpmTime(time, tpmAt(now, { clockMilliseconds: 5_000_000 + clock }));
            heard = now;
          }
          time = passKernelTime(time, kernelAt(now));
          expect(time.elapsedMilliseconds).toBeGreaterThanOrEqual(now);
          expect(time.elapsedMilliseconds).toBeLessThanOrEqual(now * 1.15 + 5_000);
        }
      }),
    );
  });

  it('LC-1, LC-4: whatever the clocks say, time does not go back or stand still while the kernel goes on', () => {
    const reading = fc.record({
      kernel: fc.integer({ min: -YEARS, max: YEARS }),
      asleep: fc.integer({ min: -YEARS, max: YEARS }),
      clock: fc.integer({ min: -YEARS, max: YEARS }),
    });
    fc.assert(
      fc.property(fc.array(reading, { maxLength: 20 }), (readings) => {
        let time = begun;
        for (const { kernel, asleep, clock } of readings) {
          const before = time;
          const code = refusalCode(() => {
            const tpm = tpmAt(kernel, { clockMilliseconds: 5_000_000 + clock });
            time = passKernelTime(passTpmTime(time, tpm), kernelAt(kernel, asleep));
          });
          if (code !== 'accepted') {
            expect(code).toMatch(/^lease-clock-/);
            return;
          }
          expect(time.elapsedMilliseconds).toBeGreaterThanOrEqual(before.elapsedMilliseconds);
          expect(time.elapsedMilliseconds).toBeGreaterThanOrEqual(kernel);
        }
      }),
    );
  });
});

/** The clocks of a machine, turned by hand. */
class Machine {
  boot = 0;
  asleep = 0;
  clock = 0;
  answers = true;
  reads = 0;
  readonly kernel = {
    posixSeconds: () => 0,
    monotonicMilliseconds: () => this.boot,
    awakeMilliseconds: () => this.boot - this.asleep,
  };
  readonly tpm = () => {
    this.reads += 1;
    if (!this.answers) return Promise.reject(new Error('no answer'));
    return Promise.resolve({ clockMilliseconds: this.clock, resetCount: 1, restartCount: 0, safe: true });
  };

  pass(milliseconds: number): void {
    this.boot += milliseconds;
    this.clock += milliseconds;
  }
}

describe('the reader of lease time', () => {
  it('LC-5: asks the TPM at intervals, and once at a time', async () => {
    const machine = new Machine();
    const time = await LeaseClock.begin(machine.kernel, machine.tpm);
    time.tick();
    expect(machine.reads).toBe(1);
    machine.pass(10_000);
    time.tick();
    time.tick();
    expect(machine.reads).toBe(2);
    await time.readTpm();
    expect(time.state).toMatchObject({
      elapsedSeconds: 10,
      tpmReadSecondsAgo: 0,
      sources: ['tpm', 'kernel'],
    });
  });

  it('LC-5: asks before an answer when the last reading is old, and not otherwise', async () => {
    const machine = new Machine();
    const time = await LeaseClock.begin(machine.kernel, machine.tpm);
    machine.pass(29_000);
    await time.confirm();
    expect(machine.reads).toBe(1);
    machine.pass(2_000);
    await time.confirm();
    expect(machine.reads).toBe(2);
    expect(time.endedBy).toBeUndefined();
  });

  it('LC-6: bears a TPM that fails for a while, and ends when it goes on', async () => {
    const machine = new Machine();
    const time = await LeaseClock.begin(machine.kernel, machine.tpm);
    machine.answers = false;
    machine.pass(119_000);
    await time.confirm();
    expect(time.endedBy).toBeUndefined();
    machine.pass(2_000);
    expect(time.endedBy?.code).toBe('lease-clock-silent');
  });

  it('LC-2, W7: what has ended stays ended', async () => {
    const machine = new Machine();
    const time = await LeaseClock.begin(machine.kernel, machine.tpm);
    machine.clock -= 1;
    await time.readTpm();
    expect(time.endedBy?.code).toBe('lease-clock-rollback');
    machine.clock += 1;
    await time.readTpm();
    expect(time.endedBy?.code).toBe('lease-clock-rollback');
  });

  it('LC-9: counts by the kernel alone without a TPM, and sees sleep', async () => {
    const machine = new Machine();
    const time = await LeaseClock.begin(machine.kernel, undefined);
    machine.pass(MINUTE);
    expect(time.asClock(machine.kernel).monotonicMilliseconds()).toBe(MINUTE);
    expect(time.state).toMatchObject({ sources: ['kernel'], tpmReadSecondsAgo: null, resetCount: null });
    machine.pass(5_000);
    machine.asleep = 5_000;
    expect(time.endedBy?.code).toBe('lease-clock-suspended');
  });

  it('LC-6: does not begin when the TPM does not answer', async () => {
    const machine = new Machine();
    machine.answers = false;
    await expect(LeaseClock.begin(machine.kernel, machine.tpm)).rejects.toThrow('no answer');
  });
});
