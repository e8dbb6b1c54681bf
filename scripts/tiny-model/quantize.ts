/// <reference lib="es2025.float16" />
/** Rows of numbers as the bytes of a tensor. */

import { Q8_0_BLOCK_BYTES, Q8_0_BLOCK_VALUES, type TensorType } from './gguf.ts';

const Q8_MAXIMUM = 127;

/** Writes one row into `bytes` from `offset` on. */
export function writeRow(type: TensorType, row: Float32Array, bytes: DataView, offset: number): void {
  switch (type) {
    case 'f32':
      for (const [i, value] of row.entries()) bytes.setFloat32(offset + 4 * i, value, true);
      return;
    case 'q8_0':
      writeBlocks(row, bytes, offset);
  }
}

function writeBlocks(row: Float32Array, bytes: DataView, offset: number): void {
  for (let block = 0; block * Q8_0_BLOCK_VALUES < row.length; block += 1) {
    const values = row.subarray(block * Q8_0_BLOCK_VALUES, (block + 1) * Q8_0_BLOCK_VALUES);
    const at = offset + block * Q8_0_BLOCK_BYTES;
    let largest = 0;
    for (const value of values) largest = Math.max(largest, Math.abs(value));
    const scale = largest / Q8_MAXIMUM;
    bytes.setFloat16(at, scale, true);
    for (let i = 0; i < values.length; i += 1) {
      bytes.setInt8(at + 2 + i, scale === 0 ? 0 : Math.round((values[i] ?? 0) / scale));
    }
  }
}
