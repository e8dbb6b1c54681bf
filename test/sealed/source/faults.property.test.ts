import fc from 'fast-check';
import { expect, it } from 'vitest';

import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { HttpSource } from '../../../src/sealed/source/http-source.ts';
import { checkRangeAnswer } from '../../../src/sealed/source/range-answer.ts';
import { retryAfterSeconds } from '../../../src/sealed/source/tries.ts';
import { startRangeServer, type Fault } from '../../support/range-server.ts';
import { refusalCode } from '../../support/refusal-code.ts';
import { deterministicBytes } from '../fixtures.ts';
import { HASTE } from './mirrored-bundle.ts';

const SIZE = 700_001;
const content = deterministicBytes(SIZE, 'property');
const amount = fc.integer({ min: 0, max: SIZE });
const rangeText = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'bytes 0123456789-/*=,'.split('')), maxLength: 40 }),
  fc.tuple(amount, amount, amount).map(([first, last, total]) => `bytes ${first}-${last}/${total}`),
);

/** Everything but other bytes in the place of the right ones: those are for the tags to find. */
const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({ kind: fc.constant('reset' as const), afterBytes: amount }),
  fc.record({ kind: fc.constant('truncated' as const), afterBytes: amount }),
  fc.record({ kind: fc.constantFrom('no-answer' as const, 'whole-file' as const, 'extra-bytes' as const) }),
  fc.record({ kind: fc.constant('right' as const) }),
  fc.record({ kind: fc.constant('throttle' as const), bytesAtATime: fc.integer({ min: 70_000, max: SIZE }) }),
  fc.record({
    kind: fc.constant('status' as const),
    status: fc.constantFrom(200, 204, 206, 400, 401, 404, 408, 416, 418, 429, 500, 503, 599),
  }),
  fc.record({
    kind: fc.constant('redirect' as const),
    status: fc.constantFrom(301, 302, 303, 307, 308),
    location: fc.constantFrom('/file', '/none', '//', 'ftp://127.0.0.1/', 'http://u@127.0.0.1/', undefined),
  }),
  fc
    .dictionary(fc.constantFrom('content-range', 'etag', 'content-encoding'), rangeText, { maxKeys: 2 })
    .map((headers) => ({ kind: 'headers' as const, headers })),
);

it('SW-34, SW-36: whatever a mirror does, a read ends in exactly the right bytes or in a refusal', async () => {
  const server = await startRangeServer(new Map([['file', content]]));
  let complete = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fault, { maxLength: 5 }), amount, amount, async (faults, one, other) => {
      const [offset, end] = [Math.min(one, other), Math.max(one, other)];
      server.faults.splice(0, Infinity, ...faults);
      const file = await new HttpSource(server.origin, HASTE).open('file', SIZE);
      const target = new Uint8Array(end - offset);
      const code = await refusalCodeAsync(() => file.read(target, offset, target.length));
      if (code !== 'accepted') return;
      complete += 1;
      expect(Buffer.compare(target, content.subarray(offset, end))).toBe(0);
    }),
    { numRuns: 120, interruptAfterTimeLimit: 8000, markInterruptAsFailure: false },
  );
  expect(complete).toBeGreaterThan(10);
});

it('SW-34: only the one right Content-Range is taken for a range', () => {
  const header = fc.oneof(rangeText, fc.constant(`bytes 5-9/${SIZE}`));
  const wanted = { path: 'file', first: 5, last: 9, totalBytes: SIZE };
  fc.assert(
    fc.property(header, (text) => {
      const code = refusalCode(() =>
        checkRangeAnswer({ status: 206, headers: { 'content-range': text } }, wanted),
      );
      expect(code === 'accepted').toBe(text === `bytes 5-9/${SIZE}`);
    }),
  );
});

it('SW-36: no Retry-After makes a reader wait for no time or for no reason', () => {
  const clock = { posixSeconds: () => 1_700_000_000 };
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.date().map(String), fc.nat().map(String)), (text) => {
      const seconds = retryAfterSeconds(text, clock);
      expect(seconds).toBeGreaterThanOrEqual(0);
      expect(seconds).toBeLessThan(Number.MAX_SAFE_INTEGER);
    }),
  );
  expect(retryAfterSeconds('17', clock)).toBe(17);
  expect(retryAfterSeconds('Tue, 14 Nov 2023 22:14:20 GMT', clock)).toBe(60);
  expect(retryAfterSeconds('Tue, 14 Nov 2000 22:14:20 GMT', clock)).toBe(0);
  for (const text of [undefined, '', '-1', '1.5', 'soon', '2023-11-14']) {
    expect(retryAfterSeconds(text, clock), text).toBe(0);
  }
});
