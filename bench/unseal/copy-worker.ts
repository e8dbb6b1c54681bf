/** One thread of a plain copy: pread(2) into a buffer that stays in the cache, pwrite(2) out of it. */

import { nativeFunction } from '../../native/memory/libc.ts';
import { Mapping } from '../../native/memory/mapping.ts';
import { Jobs } from '../../src/sealed/jobs.ts';
import { serveThread } from '../support/threads.ts';

/** What is read at once: it stays in the second-level cache. */
const SLICE_BYTES = 512 * 1024;

export interface CopyData {
  /** Descriptors. */
  readonly source: number;
  readonly target: number;
  readonly bytes: number;
  /** What is written at once. */
  readonly pieceBytes: number;
  readonly jobCount: number;
  readonly jobs: SharedArrayBuffer;
}

function prepare({ source, target, bytes, pieceBytes, jobCount, jobs }: CopyData): () => undefined {
  const pread = nativeFunction('int64_t pread(int, void *, size_t, int64_t)');
  const pwrite = nativeFunction('int64_t pwrite(int, const void *, size_t, int64_t)');
  const buffer = Mapping.create(pieceBytes);
  const pieces = new Jobs(jobCount, jobs);
  const copyPiece = (offset: number, length: number): void => {
    let read = 0;
    for (let at = 0; at < length; at += SLICE_BYTES) {
      const slice = Math.min(SLICE_BYTES, length - at);
      read += pread(source, buffer.address + BigInt(at), slice, offset + at) as number;
    }
    const written = pwrite(target, buffer.address, length, offset);
    if (read !== length || written !== length)
      throw new Error(`${length} bytes at ${offset} were not copied`);
  };
  return () => {
    for (let piece = pieces.take(); piece !== undefined; piece = pieces.take()) {
      const offset = piece * pieceBytes;
      copyPiece(offset, Math.min(pieceBytes, bytes - offset));
    }
    buffer.unmap();
  };
}

serveThread(prepare);
