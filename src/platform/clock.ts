/** Time as an argument: nothing but this file asks the machine for it. */

export interface Clock {
  /** POSIX time in whole seconds, as it stands in log entries. Set by whoever runs this machine. */
  posixSeconds(): number;
  /** Milliseconds on a clock that nobody can set. Its zero means nothing. */
  monotonicMilliseconds(): number;
}

export const systemClock: Clock = {
  posixSeconds: () => Math.floor(Date.now() / 1000),
  monotonicMilliseconds: () => Number(process.hrtime.bigint() / 1_000_000n),
};
