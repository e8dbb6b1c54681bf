/**
 * Signs of ±1 that stand for tokens. Two codes of many signs agree in about half of them, so that their product is
 * small against that of a code with itself: a thousand tokens fit into a hundred nearly independent directions.
 */

import { createHash } from 'node:crypto';

/** Codes of `dimensions` signs, one after another; token `t` has those from `t * dimensions` on. */
export interface Codes {
  readonly dimensions: number;
  readonly signs: Int8Array;
}

/** The code that belongs to a name: the bits of SHAKE-256, the same on every machine. */
function codeOf(name: string, dimensions: number): Int8Array {
  const bytes = createHash('shake256', { outputLength: Math.ceil(dimensions / 8) })
    .update(name)
    .digest();
  return Int8Array.from({ length: dimensions }, (_, i) => (((bytes[i >> 3] ?? 0) >> (i & 7)) & 1) * 2 - 1);
}

/** Codes without any promise about the product of two of them. */
export function makeCodes(seed: string, count: number, dimensions: number): Codes {
  const signs = new Int8Array(count * dimensions);
  for (let i = 0; i < count; i += 1) signs.set(codeOf(`${seed}/${i}`, dimensions), i * dimensions);
  return { dimensions, signs };
}

/** Codes of which no two have a product above `maximumProduct`; candidates that would are passed over. */
export function makeSeparatedCodes(
  seed: string,
  count: number,
  dimensions: number,
  maximumProduct: number,
): Codes {
  const signs = new Int8Array(count * dimensions);
  let accepted = 0;
  for (let candidate = 0; accepted < count; candidate += 1) {
    const code = codeOf(`${seed}/${candidate}`, dimensions);
    if (!isSeparated(code, signs, accepted, maximumProduct)) continue;
    signs.set(code, accepted * dimensions);
    accepted += 1;
  }
  return { dimensions, signs };
}

function isSeparated(code: Int8Array, signs: Int8Array, accepted: number, maximumProduct: number): boolean {
  for (let i = 0; i < accepted; i += 1) {
    let product = 0;
    for (let j = 0; j < code.length; j += 1) product += (code[j] ?? 0) * (signs[i * code.length + j] ?? 0);
    if (product > maximumProduct) return false;
  }
  return true;
}
