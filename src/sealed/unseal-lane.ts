/**
 * One lane of unsealing: takes chunks, opens each in its own scratch memory, and copies out what is authentic. Reading,
 * decrypting and copying run on the platform's threads; a lane has no JavaScript heap of its own, so that many lanes
 * cost little more than their scratch memory.
 */

import type { FileHandle } from 'node:fs/promises';

import { excerpt } from '../../attestation/core/bytes.ts';
import { Aes256Gcm } from '../../native/memory/aes-gcm.ts';
import { libc } from '../../native/memory/libc.ts';
import { Mapping } from '../../native/memory/mapping.ts';
import { openRegularFile, refuseChunk, refuseSize } from './files.ts';
import type { Jobs } from './jobs.ts';
import { chunkNonce } from './keys.ts';
import { CHUNK_BYTES, chunkLength } from './layout.ts';
import { sealedEnvironment } from './refusals.ts';
import { tagAt } from './tags.ts';

/** One file to open, with the places in this process's memory of its key and of its plaintext. */
export interface UnsealFile {
  readonly path: string;
  readonly bytes: number;
  readonly chunks: number;
  /** Number of the job that is this file's first chunk. */
  readonly firstJob: number;
  /** Place of the first chunk's tag in the table. */
  readonly firstTag: number;
  readonly keyAddress: bigint;
  readonly targetAddress: bigint;
}

export interface UnsealWork {
  readonly folder: string;
  readonly files: readonly UnsealFile[];
  readonly tags: Uint8Array;
}

/**
 * Runs a lane to its end. When it resolves, no thread works for it any more.
 *
 * @returns what went wrong; then all lanes are told to stop
 */
export async function runUnsealLane(work: UnsealWork, jobs: Jobs): Promise<Error | undefined> {
  try {
    const lane = new UnsealLane(work);
    try {
      for (let job = jobs.take(); job !== undefined; job = jobs.take()) {
        jobs.addProgress(await lane.openJob(job));
      }
    } finally {
      await lane.close();
    }
    return undefined;
  } catch (error) {
    jobs.stop();
    return error instanceof Error ? error : new Error(String(error));
  }
}

class UnsealLane {
  readonly #work: UnsealWork;
  readonly #cipher = new Aes256Gcm();
  readonly #scratch = Mapping.create(CHUNK_BYTES);
  #fileIndex = 0;
  #handle: FileHandle | undefined;

  constructor(work: UnsealWork) {
    this.#work = work;
  }

  /** @returns how many bytes were opened */
  async openJob(job: number): Promise<number> {
    const file = await this.#fileOf(job);
    const index = job - file.firstJob;
    const length = chunkLength(file.bytes, index);
    await this.#openIntoScratch(file, index, length);
    const target = file.targetAddress + BigInt(index * CHUNK_BYTES);
    await libc().copyAsync(target, this.#scratch.address, length);
    return length;
  }

  /** Jobs are taken in rising order, so the file of a job is this or a later one. */
  async #fileOf(job: number): Promise<UnsealFile> {
    for (;;) {
      const file = this.#work.files[this.#fileIndex];
      if (file === undefined) throw new RangeError('a job beyond the last file');
      if (job < file.firstJob + file.chunks) return file;
      await this.#closeFile();
      this.#fileIndex += 1;
    }
  }

  /** SW-8: the scratch memory is this lane's own; what is in it has left nobody. */
  async #openIntoScratch(file: UnsealFile, index: number, length: number): Promise<void> {
    await this.#read(file, length, index * CHUNK_BYTES);
    this.#cipher.start('open', file.keyAddress, chunkNonce(index, index === file.chunks - 1));
    await this.#cipher.updateAsync(this.#scratch.address, length);
    if (this.#cipher.finishOpening(tagAt(this.#work.tags, file.firstTag + index))) return;
    refuseChunk(file.path, index);
  }

  async #read(file: UnsealFile, length: number, offset: number): Promise<void> {
    this.#handle ??= (await openRegularFile(this.#work.folder, file.path)).handle;
    let filled = 0;
    while (filled < length) {
      const target = this.#scratch.address + BigInt(filled);
      const count = await libc().preadAsync(this.#handle.fd, target, length - filled, offset + filled);
      if (count < 0) refuseRead(file.path);
      if (count === 0) refuseSize(file.path, file.bytes, offset + filled);
      filled += count;
    }
  }

  async #closeFile(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }

  async close(): Promise<void> {
    await this.#closeFile();
    this.#scratch.zeroise();
    this.#scratch.unmap();
    this.#cipher.close();
  }
}

function refuseRead(path: string): never {
  throw sealedEnvironment.error('sealed-not-readable', {
    field: excerpt(path),
    expected: 'a readable file',
    found: 'an error while reading',
  });
}
