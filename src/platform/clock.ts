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

export const systemClock: Clock = {
  posixSeconds: () => Math.floor(Date.now() / 1000),
  monotonicMilliseconds: () => uptime() * 1000,
};
