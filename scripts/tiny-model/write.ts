/** Files: a model is written piece by piece, whatever its size, and stands under its name only when it is whole. */

import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises';

import {
  encodePreamble,
  type MetadataValue,
  padding,
  rowBytes,
  tensorBytes,
  type TensorShape,
} from './gguf.ts';
import { writeRow } from './quantize.ts';
import { tinyModelEnvironment } from './refusals.ts';
import type { Tensor } from './transformer.ts';

/** Rows are gathered to pieces of about this size before they are written. */
const PIECE_BYTES = 1 << 20;

/** What was made. */
export interface ModelSummary {
  readonly parameters: number;
  /** Bytes of all tensors, without the metadata before them. */
  readonly tensorBytes: number;
}

export function summarize(tensors: readonly TensorShape[]): ModelSummary {
  return {
    parameters: tensors.reduce((sum, { rows, columns }) => sum + rows * columns, 0),
    tensorBytes: tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0),
  };
}

/** Turns the system's no about a file into a refusal. */
export function refuseFile(path: string, cause: unknown): never {
  throw tinyModelEnvironment.error(
    'tiny-model-file',
    {
      field: path,
      expected: 'a file that can be read or written',
      found: cause instanceof Error ? cause.message : 'another error',
    },
    { cause },
  );
}

/** @throws RefusalError `tiny-model-file` */
export async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: unknown) => refuseFile(path, cause));
}

/**
 * Writes the pieces of a file in their order. A piece may be reused after it was taken.
 *
 * @throws RefusalError `tiny-model-file`; the signal's reason, when it aborts. Nothing of the file remains then.
 */
export async function writePieces(
  path: string,
  pieces: Iterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<void> {
  const partial = `${path}.partial-${process.pid}`;
  try {
    const file = await open(partial, 'wx', 0o644);
    await writeAll(file, pieces, signal).finally(() => file.close());
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true });
    signal?.throwIfAborted();
    refuseFile(path, cause);
  }
}

async function writeAll(file: FileHandle, pieces: Iterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
  for (const piece of pieces) {
    signal?.throwIfAborted();
    await file.writeFile(piece);
  }
}

/** The pieces of a GGUF file with these tensors. `data` gives the bytes of each without its padding. */
export function* ggufPieces<Shape extends TensorShape>(
  metadata: Readonly<Record<string, MetadataValue>>,
  tensors: readonly Shape[],
  data: (tensor: Shape) => Iterable<Uint8Array>,
): Generator<Uint8Array> {
  yield encodePreamble(metadata, tensors);
  for (const tensor of tensors) {
    yield* data(tensor);
    yield padding(tensorBytes(tensor));
  }
}

/** The bytes of a constructed tensor, row after row. */
export function* tensorPieces(tensor: Tensor): Generator<Uint8Array> {
  const rowLength = rowBytes(tensor);
  const rowsAtOnce = Math.max(1, Math.floor(PIECE_BYTES / rowLength));
  const piece = new DataView(new ArrayBuffer(rowsAtOnce * rowLength));
  const row = new Float32Array(tensor.columns);
  for (let first = 0; first < tensor.rows; first += rowsAtOnce) {
    const rows = Math.min(rowsAtOnce, tensor.rows - first);
    for (let i = 0; i < rows; i += 1) {
      row.fill(0);
      tensor.fill(row, first + i);
      writeRow(tensor.type, row, piece, i * rowLength);
    }
    yield new Uint8Array(piece.buffer, 0, rows * rowLength);
  }
}
