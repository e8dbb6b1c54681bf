/** The tree of RFC 6962 section 2.1, written as the recursive definitions stand there: slow, and easy to believe. */

import { createHash } from 'node:crypto';

const hash = (...parts: readonly Uint8Array[]): Uint8Array => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part);
  return new Uint8Array(sum.digest());
};

function split(length: number): number {
  let k = 1;
  while (k * 2 < length) k *= 2;
  return k;
}

export function naiveRoot(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length === 0) return hash();
  if (entries.length === 1) return hash(Uint8Array.of(0), entries[0]!);
  const k = split(entries.length);
  return hash(Uint8Array.of(1), naiveRoot(entries.slice(0, k)), naiveRoot(entries.slice(k)));
}

/** PATH(m, D[n]) */
export function naivePath(index: number, entries: readonly Uint8Array[]): Uint8Array[] {
  if (entries.length === 1) return [];
  const k = split(entries.length);
  return index < k
    ? [...naivePath(index, entries.slice(0, k)), naiveRoot(entries.slice(k))]
    : [...naivePath(index - k, entries.slice(k)), naiveRoot(entries.slice(0, k))];
}

/** PROOF(m, D[n]) */
export function naiveConsistency(first: number, entries: readonly Uint8Array[]): Uint8Array[] {
  return first === 0 ? [] : naiveSubproof(first, entries, true);
}

function naiveSubproof(first: number, entries: readonly Uint8Array[], known: boolean): Uint8Array[] {
  if (first === entries.length) return known ? [] : [naiveRoot(entries)];
  const k = split(entries.length);
  return first <= k
    ? [...naiveSubproof(first, entries.slice(0, k), known), naiveRoot(entries.slice(k))]
    : [...naiveSubproof(first - k, entries.slice(k), false), naiveRoot(entries.slice(0, k))];
}
