/** How many requests one address may send: a bucket of tokens for each, refilled steadily. */

import { capacityRefusals } from './refusals.ts';

interface Bucket {
  tokens: number;
  refilledAtMilliseconds: number;
}

/** Addresses that are remembered at a time; the oldest is forgotten first, in its favour. */
const MAX_ADDRESSES = 10_000;

export class RateLimit {
  private readonly burst: number;
  private readonly perMillisecond: number;
  private readonly buckets = new Map<string, Bucket>();

  /** @param requestsPerMinute what an address may send steadily, and also at once after a pause */
  constructor(requestsPerMinute: number) {
    this.burst = requestsPerMinute;
    this.perMillisecond = requestsPerMinute / 60_000;
  }

  /**
   * Takes one token.
   *
   * @param address of the sender, as the connection has it
   * @param nowMilliseconds monotonic
   * @throws RefusalError `server-rate`
   */
  take(address: string, nowMilliseconds: number): void {
    const bucket = this.refilled(address, nowMilliseconds);
    if (bucket.tokens < 1) {
      const expected = `at most ${this.burst} requests a minute`;
      throw capacityRefusals.error('server-rate', { field: 'requests', expected, found: 'more' });
    }
    bucket.tokens -= 1;
  }

  private refilled(address: string, nowMilliseconds: number): Bucket {
    const known = this.buckets.get(address);
    const bucket = known ?? { tokens: this.burst, refilledAtMilliseconds: nowMilliseconds };
    const elapsed = nowMilliseconds - bucket.refilledAtMilliseconds;
    bucket.tokens = Math.min(this.burst, bucket.tokens + elapsed * this.perMillisecond);
    bucket.refilledAtMilliseconds = nowMilliseconds;
    // Setting again after deleting keeps the map in the order of last use.
    this.buckets.delete(address);
    this.buckets.set(address, bucket);
    if (this.buckets.size > MAX_ADDRESSES) this.forgetOldest();
    return bucket;
  }

  private forgetOldest(): void {
    const oldest = this.buckets.keys().next();
    if (oldest.done !== true) this.buckets.delete(oldest.value);
  }
}
