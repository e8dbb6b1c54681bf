/** Small edits that several operations share. Each refuses a place that is not there. */

import { fromHex } from '../../attestation/core/bytes.ts';

/** The bytes at an offset with a mask of hexadecimal digits applied. */
export function xorAt(
  bytes: Uint8Array,
  { offset, hex }: { readonly offset: number; readonly hex: string },
): Uint8Array {
  return fromHex(hex, 'hex').map((mask, i) => mask ^ (bytes[offset + i] ?? 0));
}

/** @throws Error when the piece would reach beyond the end */
export function overwrite(bytes: Uint8Array, offset: number, piece: Uint8Array): Uint8Array {
  if (offset + piece.length > bytes.length)
    throw new Error(`${offset} lies outside of ${bytes.length} bytes`);
  const copy = bytes.slice();
  copy.set(piece, offset);
  return copy;
}

/** @throws Error when there is no such item */
export function itemAt<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new Error(`there is no ${index} among ${items.length}`);
  return item;
}

export function swapped<T>(
  items: readonly T[],
  { i, j }: { readonly i: number; readonly j: number },
): readonly T[] {
  return items.with(i, itemAt(items, j)).with(j, itemAt(items, i));
}
