/** Time as an argument: nothing but this file asks the machine for it. */

import { uptime } from 'node:os';

export interface Clock {
  /** POSIX time in whole seconds, as it stands in log entries. Set by whoever runs this machine. */
  posixSeconds(): number;
  /**
   * Milliseconds since this machine started. Nobody sets this clock back, and it goes on while the machine sleeps,
   * which `process.hrtime` does not: a lease must not outlive a suspended machine.
   */
  monotonicMilliseconds(): number;
}

/** A clock beside which another one stands still while the machine sleeps: from the two together sleep is seen. */
export interface SleepingClock extends Clock {
  /** Milliseconds since this machine started, without those during which it slept. */
  awakeMilliseconds(): number;
}

export const systemClock: SleepingClock = {
  posixSeconds: () => Math.floor(Date.now() / 1000),
  monotonicMilliseconds: () => uptime() * 1000,
  awakeMilliseconds: () => Number(process.hrtime.bigint() / 1_000_000n),
};
