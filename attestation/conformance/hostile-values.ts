/** Values that nobody expects, the same in each run: chance would make of a report what nobody can repeat. */

import type { JsonValue } from '../core/canonical-json.ts';

const TEXTS = ['', '\u0000', '__proto__', 'AAAA', '00', '{"a":1}', '\ud800', 'x'.repeat(5000), '-1', 'é'];
const NUMBERS = [0, -0, -1, 1, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 53), 1e308];

/** Numbers below a bound, in an order that depends on the seed alone (Numerical Recipes, section 7.1). */
function sequence(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

/** JSON values of every type, nested up to three deep. */
export function hostileJson(count: number, seed: number): readonly JsonValue[] {
  const next = sequence(seed);
  return Array.from({ length: count }, () => jsonValue(next, 3));
}

function jsonValue(next: (bound: number) => number, depth: number): JsonValue {
  const kind = next(depth > 0 ? 7 : 5);
  if (kind === 0) return null;
  if (kind === 1) return next(2) === 0;
  if (kind === 2) return NUMBERS[next(NUMBERS.length)] ?? 0;
  if (kind <= 4) return TEXTS[next(TEXTS.length)] ?? '';
  const items = Array.from({ length: next(4) }, () => jsonValue(next, depth - 1));
  if (kind === 5) return items;
  return Object.fromEntries(items.map((item) => [TEXTS[next(TEXTS.length)] ?? '', item]));
}

/** Byte strings of up to `maxLength` bytes. */
export function hostileBytes(count: number, maxLength: number, seed: number): readonly Uint8Array[] {
  const next = sequence(seed);
  return Array.from({ length: count }, () =>
    Uint8Array.from({ length: next(maxLength + 1) }, () => next(256)),
  );
}
