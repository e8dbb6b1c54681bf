/** Opening a part of a file, chunk by chunk over locked scratch memory, into memory of its own (SW-54). */

import { Aes256Gcm } from '../../native/memory/aes-gcm.ts';
import { Mapping } from '../../native/memory/mapping.ts';
import { SecretMemory } from '../../native/memory/secret-memory.ts';
import { refuseChunk } from './files.ts';
import { chunkNonce } from './keys.ts';
import { CHUNK_BYTES, chunkLength } from './layout.ts';
import type { IndexedFile, UnlockedBundle } from './reader.ts';
import { mayReadAgain, type SourceFile } from './source/source.ts';
import { tagAt } from './tags.ts';

/** Bytes of a file of the bundle. */
export interface FileRange {
  readonly path: string;
  /** From the start of the file; the range lies within it. */
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Opens a range. Every chunk that it touches is authenticated as a whole before a byte of it is placed.
 *
 * @param unlocked stays open until this has settled
 * @returns memory that nobody else can write; the caller closes it
 * @throws RefusalError `sealed-file-*`, `sealed-chunk-tag`, `sealed-interrupted`, `source-*`, `memory-*`; what was
 *   placed before has been overwritten then
 */
export async function openRange(
  unlocked: UnlockedBundle,
  range: FileRange,
  signal?: AbortSignal,
): Promise<SecretMemory> {
  const memory = SecretMemory.allocate(range.bytes, 'tensor');
  try {
    if (range.bytes > 0) await fill(memory, unlocked, range, signal);
    memory.seal();
    return memory;
  } catch (error) {
    memory.close();
    throw error;
  }
}

async function fill(
  memory: SecretMemory,
  unlocked: UnlockedBundle,
  range: FileRange,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = unlocked.bundle.file(range.path);
  const source = await unlocked.bundle.source.open(file.path, file.bytes);
  try {
    const opener = new ChunkOpener(unlocked, file, source, signal);
    try {
      await placeAll(memory, opener, range);
    } finally {
      opener.close();
    }
  } finally {
    await source.close();
  }
}

async function placeAll(memory: SecretMemory, opener: ChunkOpener, range: FileRange): Promise<void> {
  const { offset, bytes } = range;
  const end = offset + bytes;
  for (let index = Math.floor(offset / CHUNK_BYTES); index * CHUNK_BYTES < end; index += 1) {
    const start = index * CHUNK_BYTES;
    const from = Math.max(offset, start);
    const to = Math.min(end, start + CHUNK_BYTES);
    const chunk = await opener.open(index);
    await memory.place(from - offset, chunk + BigInt(from - start), to - from);
  }
}

/** One chunk at a time, in scratch memory that is overwritten at the end. */
class ChunkOpener {
  readonly #unlocked: UnlockedBundle;
  readonly #file: IndexedFile;
  readonly #source: SourceFile;
  readonly #signal: AbortSignal | undefined;
  readonly #scratch = Mapping.create(CHUNK_BYTES);
  readonly #cipher = new Aes256Gcm();

  constructor(
    unlocked: UnlockedBundle,
    file: IndexedFile,
    source: SourceFile,
    signal: AbortSignal | undefined,
  ) {
    this.#unlocked = unlocked;
    this.#file = file;
    this.#source = source;
    this.#signal = signal;
  }

  /** @returns where the plaintext of the chunk lies until the next call */
  async open(index: number): Promise<bigint> {
    if (await this.#readAndOpen(index, false)) return this.#scratch.address;
    if (mayReadAgain(this.#source) && (await this.#readAndOpen(index, true))) return this.#scratch.address;
    return refuseChunk(this.#file.path, index);
  }

  /** @returns whether the chunk is authentic */
  async #readAndOpen(index: number, again: boolean): Promise<boolean> {
    const { address } = this.#scratch;
    const { path, bytes, chunks, firstTag } = this.#file;
    const length = chunkLength(bytes, index);
    await this.#source.read({ address }, index * CHUNK_BYTES, length, { signal: this.#signal, again });
    this.#cipher.start('open', this.#unlocked.keyAddress(path), chunkNonce(index, index === chunks - 1));
    await this.#cipher.updateAsync(address, length);
    return this.#cipher.finishOpening(tagAt(this.#unlocked.bundle.tags, firstTag + index));
  }

  close(): void {
    this.#scratch.zeroise();
    this.#scratch.unmap();
    this.#cipher.close();
  }
}
