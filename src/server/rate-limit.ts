/** How many requests one sender may send: a bucket of tokens for each, refilled steadily. */

import { isIPv6 } from 'node:net';

import { capacityRefusals } from './refusals.ts';

interface Bucket {
  tokens: number;
  refilledAtMilliseconds: number;
}

/** Senders that are remembered at a time; the oldest is forgotten first, in its favour. */
const MAX_SENDERS = 10_000;

export class RateLimit {
  private readonly burst: number;
  private readonly perMillisecond: number;
  private readonly buckets = new Map<string, Bucket>();

  /** @param requestsPerMinute what a sender may send steadily, and also at once after a pause */
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
    const bucket = this.refilled(senderOf(address), nowMilliseconds);
    if (bucket.tokens < 1) {
      const expected = `at most ${this.burst} requests a minute`;
      throw capacityRefusals.error('server-rate', { field: 'requests', expected, found: 'more' });
    }
    bucket.tokens -= 1;
  }

  private refilled(sender: string, nowMilliseconds: number): Bucket {
    const known = this.buckets.get(sender);
    const bucket = known ?? { tokens: this.burst, refilledAtMilliseconds: nowMilliseconds };
    const elapsed = nowMilliseconds - bucket.refilledAtMilliseconds;
    bucket.tokens = Math.min(this.burst, bucket.tokens + elapsed * this.perMillisecond);
    bucket.refilledAtMilliseconds = nowMilliseconds;
    // Setting again after deleting keeps the map in the order of last use.
    this.buckets.delete(sender);
    this.buckets.set(sender, bucket);
    if (this.buckets.size > MAX_SENDERS) this.forgetOldest();
    return bucket;
  }

  private forgetOldest(): void {
    const oldest = this.buckets.keys().next();
    if (oldest.done !== true) this.buckets.delete(oldest.value);
  }
}

/**
 * Who counts as one sender: an IPv4 address, or the /64 of an IPv6 address, of which one host commonly holds all
 * (RFC 6177). On a socket of both families an IPv4 address arrives mapped (RFC 4291 section 2.5.5.2).
 */
function senderOf(address: string): string {
  const [plain = ''] = address.split('%');
  if (!isIPv6(plain)) return address;
  const groups = groupsOf(plain);
  const mapped = groups.slice(0, 6).join(':') === '0:0:0:0:0:ffff';
  return mapped ? dotted(groups.slice(6)) : `${groups.slice(0, 4).join(':')}::/64`;
}

/** The eight groups of an IPv6 address, each without leading zeros. */
function groupsOf(address: string): readonly string[] {
  // The URL standard writes every address in one way, also those that end in an IPv4 address.
  const written = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [before = [], after = []] = written.split('::').map((part) => part.split(':').filter(Boolean));
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return [...before, ...zeros, ...after];
}

function dotted(groups: readonly string[]): string {
  return [...Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex')].join('.');
}
