/** Walks over good input with one bit wrong at a time, and what came of it. */

import { refusalCodeAsync } from './refusal-code.ts';

/** Copies of the bytes, each with one bit of one byte flipped; the bit goes round with the place. */
export function* flippedBytes(bytes: Uint8Array): Generator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += 1) {
    const copy = bytes.slice();
    copy[i] = (copy[i] ?? 0) ^ (1 << (i % 8));
    yield copy;
  }
}

/** How often each refusal code came out of the work, `accepted` included. Any other error fails the test. */
export async function countOutcomes<Input>(
  inputs: Iterable<Input>,
  work: (input: Input) => Promise<unknown>,
): Promise<ReadonlyMap<string, number>> {
  const outcomes = new Map<string, number>();
  for (const input of inputs) {
    const code = await refusalCodeAsync(() => work(input));
    outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
  }
  return outcomes;
}
