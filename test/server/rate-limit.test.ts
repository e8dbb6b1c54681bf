import { describe, expect, it } from 'vitest';

import { RateLimit } from '../../src/server/rate-limit.ts';
import { refusalCode } from '../support/refusal-code.ts';

/** Whether two addresses take from one bucket. */
function shareBucket(first: string, second: string): boolean {
  const limit = new RateLimit(1);
  limit.take(first, 0);
  const code = refusalCode(() => {
    limit.take(second, 0);
  });
  expect(['accepted', 'server-rate']).toContain(code);
  return code === 'server-rate';
}

describe('who counts as one sender', () => {
  it.each([
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff'],
    ['2001:db8:1:2::1', '2001:0DB8:0001:0002:0:0:0:9'],
    ['2001:db8::1', '2001:db8:0:0:8000::'],
    ['fe80::1%eth0', 'fe80::2'],
    ['::1', '::'],
    ['192.0.2.1', '::ffff:192.0.2.1'],
    ['192.0.2.1', '::FFFF:c000:201'],
    ['', ''],
  ])('%s and %s share one rate', (first, second) => {
    expect(shareBucket(first, second)).toBe(true);
    expect(shareBucket(second, first)).toBe(true);
  });

  it.each([
    ['2001:db8:1:2::1', '2001:db8:1:3::1'],
    ['2001:db8::1', '2001:db8:0:1::1'],
    ['192.0.2.1', '192.0.2.2'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.2'],
    ['::ffff:192.0.2.1', '::1'],
    ['::ffff:0.0.0.1', '::ffff:1.0.0.0'],
  ])('%s and %s do not', (first, second) => {
    expect(shareBucket(first, second)).toBe(false);
    expect(shareBucket(second, first)).toBe(false);
  });
});
