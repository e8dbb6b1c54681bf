import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { defineRefusals, type Refusal } from '../../attestation/core/refusal.ts';
import { LeaseKeeper, type HeldLease } from '../../src/agent/lease.ts';

const unavailable = defineRefusals('unavailable', { 'test-unreachable': { means: '', hint: '' } });
const refused = defineRefusals('unacceptable', { 'test-held': { means: '', hint: '' } });
const facts = { field: 'server', expected: 'an answer', found: 'none' };

const clock = { elapsedMilliseconds: () => Date.now(), endedBy: undefined, tick: () => undefined };

function heldLease(lengthSeconds: number, requestedAtMilliseconds = Date.now()): HeldLease {
  const lease = {
    lease: 'a',
    startsAt: 1000,
    endsAt: 1000 + lengthSeconds,
    renewAfterSeconds: lengthSeconds / 2,
  };
  return { lease, requestedAtMilliseconds };
}

describe('lease keeper', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('RP-31: ends a lease that nobody renews, within a second of its end', async () => {
    const ends: Refusal[] = [];
    const renew = vi.fn(() => Promise.reject(unavailable.error('test-unreachable', facts)));
    const keeper = new LeaseKeeper(heldLease(60), { clock, renew, onEnd: (reason) => ends.push(reason) });
    await vi.advanceTimersByTimeAsync(59_800);
    expect(keeper.isHeld).toBe(true);
    expect(ends).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(ends.map(({ code }) => code)).toEqual(['lease-ended']);
    expect(keeper.isHeld).toBe(false);
    expect(renew.mock.calls.length).toBeGreaterThan(3);
  });

  it('RP-31: a final refusal ends it at once', async () => {
    const ends: Refusal[] = [];
    const renew = (): Promise<HeldLease> => Promise.reject(refused.error('test-held', facts));
    const keeper = new LeaseKeeper(heldLease(60), { clock, renew, onEnd: (reason) => ends.push(reason) });
    await vi.advanceTimersByTimeAsync(30_400);
    expect(ends.map(({ code }) => code)).toEqual(['test-held']);
    expect(keeper.isHeld).toBe(false);
  });

  it('RP-31: an outage shorter than the lease is harmless', async () => {
    const onEnd = vi.fn();
    let reachable = false;
    const renew = (): Promise<HeldLease> =>
      reachable
        ? Promise.resolve(heldLease(60))
        : Promise.reject(unavailable.error('test-unreachable', facts));
    const keeper = new LeaseKeeper(heldLease(60), { clock, renew, onEnd });
    await vi.advanceTimersByTimeAsync(50_000);
    reachable = true;
    await vi.advanceTimersByTimeAsync(20_000);
    expect(onEnd).not.toHaveBeenCalled();
    expect(keeper.isHeld).toBe(true);
    keeper.stop();
  });

  it('RP-31: a short lease leaves time for several attempts', async () => {
    const renew = vi.fn(() => Promise.reject(unavailable.error('test-unreachable', facts)));
    new LeaseKeeper(heldLease(4), { clock, renew, onEnd: () => undefined });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(renew.mock.calls.length).toBeGreaterThan(3);
  });

  it('RP-29: counts from the request, so a slow answer shortens the lease', async () => {
    const onEnd = vi.fn();
    const renew = (): Promise<HeldLease> => Promise.reject(unavailable.error('test-unreachable', facts));
    new LeaseKeeper(heldLease(60, Date.now() - 50_000), { clock, renew, onEnd });
    await vi.advanceTimersByTimeAsync(11_000);
    expect(onEnd).toHaveBeenCalledOnce();
  });

  it('LC-2: ends at once with the reason when lease time is over, and not only at a tick', async () => {
    const reason = refused.refusal('test-held', facts);
    const ends: Refusal[] = [];
    const over: { endedBy: Refusal | undefined } = { endedBy: undefined };
    const ending = {
      ...clock,
      get endedBy() {
        return over.endedBy;
      },
    };
    const renew = vi.fn(() => Promise.resolve(heldLease(60)));
    const keeper = new LeaseKeeper(heldLease(60), { clock: ending, renew, onEnd: (end) => ends.push(end) });
    over.endedBy = reason;
    expect(keeper.isHeld).toBe(false);
    await vi.advanceTimersByTimeAsync(300);
    expect(ends).toEqual([reason]);
    expect(renew).not.toHaveBeenCalled();
  });

  it('fails closed when a renewal throws something of its own', async () => {
    const ends: Refusal[] = [];
    const renew = (): Promise<HeldLease> => Promise.reject(new TypeError('a defect'));
    new LeaseKeeper(heldLease(60), { clock, renew, onEnd: (reason) => ends.push(reason) });
    await vi.advanceTimersByTimeAsync(31_000);
    expect(ends).toHaveLength(1);
  });
});
