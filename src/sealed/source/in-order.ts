/** Reading files one after the other with several reads under way, for what has to see the bytes in order. */

import { CHUNK_BYTES } from '../layout.ts';
import type { BundleSource, ReadOptions } from './source.ts';

interface FileOfSource {
  readonly path: string;
  readonly bytes: number;
}

/** Part of a file, at most a chunk long. */
interface Stretch<File extends FileOfSource> {
  readonly file: File;
  readonly offset: number;
  readonly length: number;
}

/** A stretch that was read; the content is valid until the next is asked for. */
export interface Piece<File extends FileOfSource> extends Stretch<File> {
  readonly content: Uint8Array<ArrayBuffer>;
}

/** The rest of a file from an offset on, of which nothing may be left: then one stretch of no bytes. */
export function* stretchesOf<File extends FileOfSource>(file: File, from = 0): Generator<Stretch<File>> {
  let offset = from;
  do {
    const length = Math.min(CHUNK_BYTES, file.bytes - offset);
    yield { file, offset, length };
    offset += length;
  } while (offset < file.bytes);
}

/** All of all files. */
export function* allStretches<File extends FileOfSource>(files: Iterable<File>): Generator<Stretch<File>> {
  for (const file of files) yield* stretchesOf(file);
}

/**
 * Reads as many stretches at a time as the source gains from, and holds no more than these. When the caller leaves
 * early, all reads are ended before it goes on.
 *
 * @throws RefusalError as `SourceFile.read`
 */
export async function* readInOrder<File extends FileOfSource>(
  source: BundleSource,
  stretches: Iterator<Stretch<File>>,
  { signal, again }: ReadOptions = {},
): AsyncGenerator<Piece<File>, void, undefined> {
  const left = new AbortController();
  const either = AbortSignal.any(signal === undefined ? [left.signal] : [left.signal, signal]);
  const options = { signal: either, again };
  const free: Uint8Array<ArrayBuffer>[] = [];
  const pending: Promise<Piece<File>>[] = [];
  const startReads = (): void => {
    while (pending.length < source.concurrentReads) {
      const next = stretches.next();
      if (next.done === true) return;
      const reading = readStretch(source, next.value, free.pop() ?? new Uint8Array(CHUNK_BYTES), options);
      // Its failure is met when its turn comes; until then it is not an unhandled one.
      reading.catch(() => undefined);
      pending.push(reading);
    }
  };
  try {
    startReads();
    while (pending[0] !== undefined) {
      const piece = await pending[0];
      yield piece;
      void pending.shift();
      free.push(new Uint8Array(piece.content.buffer));
      startReads();
    }
  } finally {
    left.abort();
    await Promise.allSettled(pending);
  }
}

async function readStretch<File extends FileOfSource>(
  source: BundleSource,
  stretch: Stretch<File>,
  buffer: Uint8Array<ArrayBuffer>,
  options: ReadOptions,
): Promise<Piece<File>> {
  const file = await source.open(stretch.file.path, stretch.file.bytes);
  try {
    const content = buffer.subarray(0, stretch.length);
    await file.read(content, stretch.offset, stretch.length, options);
    return { ...stretch, content };
  } finally {
    await file.close();
  }
}
