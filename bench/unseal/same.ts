/** Comparing what came out with what went in. A rate of wrong bytes is no rate. */

import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';

const PIECE_BYTES = 4 * 1024 * 1024;

/** @throws Error where the bytes differ from those of the file, or are fewer */
export function requireSame(expected: string, read: (offset: number, length: number) => Uint8Array): void {
  const file = openSync(expected, 'r');
  try {
    const { size } = fstatSync(file);
    const piece = Buffer.alloc(PIECE_BYTES);
    for (let offset = 0; offset < size;) {
      const length = readSync(file, piece, 0, Math.min(PIECE_BYTES, size - offset), offset);
      if (!piece.subarray(0, length).equals(read(offset, length)))
        throw new Error(`the output differs from ${expected} in the ${length} bytes at ${offset}`);
      offset += length;
    }
  } finally {
    closeSync(file);
  }
}

/** @throws Error where two files differ, in length too */
export function requireSameFiles(expected: string, found: string): void {
  const file = openSync(found, 'r');
  try {
    const [wanted, got] = [statSync(expected).size, fstatSync(file).size];
    if (wanted !== got) throw new Error(`${found} has ${got} bytes, expected ${wanted}`);
    requireSame(expected, (offset, length) => {
      const piece = Buffer.alloc(length);
      readSync(file, piece, 0, length, offset);
      return piece;
    });
  } finally {
    closeSync(file);
  }
}
