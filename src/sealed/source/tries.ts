/** When a broken exchange is tried again, and when it is enough (SW-36). */

import { setTimeout as sleep } from 'node:timers/promises';

import type { RefusalError } from '../../../attestation/core/refusal.ts';
import type { Clock } from '../../platform/clock.ts';
import { interrupted } from '../refusals.ts';

/** Progress that makes up for the failures before it: a chunk is read with at most 16 times the tries in a row. */
const SUBSTANTIAL_BYTES = 256 * 1024;
const MILLISECONDS = 1000;

export interface RetryLimits {
  /** How many failures in a row are the last. */
  readonly tries: number;
  /** Pause after the first failure, on average; it doubles with each further one. */
  readonly pauseMilliseconds: number;
  readonly longestPauseMilliseconds: number;
  /** The longest that a server may ask for. */
  readonly longestRetryAfterSeconds: number;
}

export const RETRY_LIMITS: RetryLimits = {
  tries: 6,
  pauseMilliseconds: 500,
  longestPauseMilliseconds: 30_000,
  longestRetryAfterSeconds: 120,
};

/** An exchange that may go better the next time; never leaves the source. */
export class BrokenExchange extends Error {
  override readonly name = 'BrokenExchange';
  /** What is refused when there is no next time. */
  readonly refusal: RefusalError;
  /** What the server asks for. */
  readonly retryAfterSeconds: number;

  constructor(refusal: RefusalError, retryAfterSeconds = 0) {
    super(refusal.message, { cause: refusal });
    this.refusal = refusal;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The failures of one read. */
export class Tries {
  readonly #limits: RetryLimits;
  #failures = 0;
  #reachedBefore = 0;

  constructor(limits: RetryLimits) {
    this.#limits = limits;
  }

  /**
   * Waits before the next try.
   *
   * @param reached how many bytes have come, over all tries
   * @throws the failure itself when it is not a broken exchange, its refusal when it was the last,
   *   `sealed-interrupted`
   */
  async afterFailure(failure: unknown, reached: number, signal: AbortSignal | undefined): Promise<void> {
    if (!(failure instanceof BrokenExchange)) throw failure;
    if (reached - this.#reachedBefore >= SUBSTANTIAL_BYTES) {
      this.#reachedBefore = reached;
      this.#failures = 0;
    }
    this.#failures += 1;
    const asksTooMuch = failure.retryAfterSeconds > this.#limits.longestRetryAfterSeconds;
    if (asksTooMuch || this.#failures >= this.#limits.tries) throw failure.refusal;
    const pause = Math.max(this.#pause(), failure.retryAfterSeconds * MILLISECONDS);
    await sleep(pause, undefined, { signal }).catch(() => {
      throw interrupted();
    });
  }

  /** Between half and one and a half of the average, so that readers that failed together do not return together. */
  #pause(): number {
    const { pauseMilliseconds, longestPauseMilliseconds } = this.#limits;
    const average = Math.min(longestPauseMilliseconds, pauseMilliseconds * 2 ** (this.#failures - 1));
    return average * (0.5 + Math.random());
  }
}

/**
 * What `Retry-After` asks for (RFC 9110 section 10.2.3): seconds, or a date.
 *
 * @param value the header; the server controls it. What cannot be read asks for nothing.
 */
export function retryAfterSeconds(value: string | undefined, clock: Pick<Clock, 'posixSeconds'>): number {
  if (value === undefined) return 0;
  if (/^[0-9]{1,9}$/.test(value)) return Number(value);
  const date = value.endsWith(' GMT') ? Date.parse(value) / MILLISECONDS : Number.NaN;
  return Number.isFinite(date) ? Math.max(0, date - clock.posixSeconds()) : 0;
}
