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

/** The code that belongs to a name: the bits of SHAKE-256, the same on every machine, eight signs in a byte. */
function bitsOf(name: string, dimensions: number): Uint8Array {
  return createHash('shake256', { outputLength: Math.ceil(dimensions / 8) })
    .update(name)
    .digest();
}

function signsOf(bits: Uint8Array, dimensions: number): Int8Array {
  return Int8Array.from({ length: dimensions }, (_, i) => (((bits[i >> 3] ?? 0) >> (i & 7)) & 1) * 2 - 1);
}

/** Codes without any promise about the product of two of them. */
export function makeCodes(seed: string, count: number, dimensions: number): Codes {
  const signs = new Int8Array(count * dimensions);
  for (let i = 0; i < count; i += 1) {
    signs.set(signsOf(bitsOf(`${seed}/${i}`, dimensions), dimensions), i * dimensions);
  }
  return { dimensions, signs };
}

/**
 * Codes of which no two have a product above `maximumProduct`; candidates that would are passed over.
 *
 * @param dimensions a multiple of eight
 */
export function makeSeparatedCodes(
  seed: string,
  count: number,
  dimensions: number,
  maximumProduct: number,
): Codes {
  // The product is the signs that agree less those that differ.
  const minimumDifferences = (dimensions - maximumProduct) / 2;
  const accepted: Uint8Array[] = [];
  for (let candidate = 0; accepted.length < count; candidate += 1) {
    const bits = bitsOf(`${seed}/${candidate}`, dimensions);
    if (accepted.every((other) => differences(bits, other) >= minimumDifferences)) accepted.push(bits);
  }
  const signs = new Int8Array(count * dimensions);
  for (const [i, bits] of accepted.entries()) signs.set(signsOf(bits, dimensions), i * dimensions);
  return { dimensions, signs };
}

/** How many bits are set in each byte. */
const BITS_SET = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);

function differences(left: Uint8Array, right: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < left.length; i += 1) sum += BITS_SET[(left[i] ?? 0) ^ (right[i] ?? 0)] ?? 0;
  return sum;
}
