/** One thread of unsealing: takes chunks, opens each in its own scratch memory, and copies out what is authentic. */

import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';

import { excerpt } from '../../attestation/core/bytes.ts';
import { Aes256Gcm } from '../../native/memory/aes-gcm.ts';
import { lastErrorName, libc } from '../../native/memory/libc.ts';
import { Mapping } from '../../native/memory/mapping.ts';
import { refuseChunk, refuseSize, refuseUnreadable } from './files.ts';
import type { Jobs } from './jobs.ts';
import { chunkNonce } from './keys.ts';
import { CHUNK_BYTES, chunkLength } from './layout.ts';
import { servePool } from './pool.ts';
import { sealedEnvironment } from './refusals.ts';
import { tagAt } from './tags.ts';

/** Reading and decrypting alternate in pieces that stay in the cache of one core. */
const SLICE_BYTES = 512 * 1024;

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
  readonly tags: Uint8Array<SharedArrayBuffer>;
}

class Unsealer {
  readonly #work: UnsealWork;
  readonly #cipher = new Aes256Gcm();
  readonly #scratch = Mapping.create(CHUNK_BYTES);
  #fileIndex = 0;
  #fileDescriptor: number | undefined;

  constructor(work: UnsealWork) {
    this.#work = work;
  }

  /** @returns how many bytes were opened */
  openJob(job: number): number {
    const file = this.#fileOf(job);
    const index = job - file.firstJob;
    const length = chunkLength(file.bytes, index);
    this.#openIntoScratch(file, index, length);
    libc().copy(file.targetAddress + BigInt(index * CHUNK_BYTES), this.#scratch.address, length);
    return length;
  }

  /** Jobs are taken in rising order, so the file of a job is this or a later one. */
  #fileOf(job: number): UnsealFile {
    for (;;) {
      const file = this.#work.files[this.#fileIndex];
      if (file === undefined) throw new RangeError('a job beyond the last file');
      if (job < file.firstJob + file.chunks) return file;
      this.#closeFile();
      this.#fileIndex += 1;
    }
  }

  /** SW-8: the scratch memory is this thread's own; what is in it has left nobody. */
  #openIntoScratch(file: UnsealFile, index: number, length: number): void {
    const offset = index * CHUNK_BYTES;
    const scratch = this.#scratch.address;
    this.#cipher.start('open', file.keyAddress, chunkNonce(index, index === file.chunks - 1));
    for (let at = 0; at < length; at += SLICE_BYTES) {
      const slice = Math.min(SLICE_BYTES, length - at);
      this.#read(file, scratch + BigInt(at), slice, offset + at);
      this.#cipher.update(scratch + BigInt(at), slice);
    }
    if (this.#cipher.finishOpening(tagAt(this.#work.tags, file.firstTag + index))) return;
    refuseChunk(file.path, index);
  }

  #read(file: UnsealFile, target: bigint, length: number, offset: number): void {
    const fileDescriptor = (this.#fileDescriptor ??= openCiphertext(this.#work.folder, file.path));
    let filled = 0;
    while (filled < length) {
      const count = libc().pread(fileDescriptor, target + BigInt(filled), length - filled, offset + filled);
      if (count < 0) refuseRead(file.path);
      if (count === 0) refuseSize(file.path, file.bytes, offset + filled);
      filled += count;
    }
  }

  #closeFile(): void {
    if (this.#fileDescriptor === undefined) return;
    closeSync(this.#fileDescriptor);
    this.#fileDescriptor = undefined;
  }

  close(): void {
    this.#closeFile();
    this.#scratch.zeroise();
    this.#scratch.unmap();
    this.#cipher.close();
  }
}

function refuseRead(path: string): never {
  throw sealedEnvironment.error('sealed-not-readable', {
    field: excerpt(path),
    expected: 'a readable file',
    found: lastErrorName(),
  });
}

function openCiphertext(folder: string, path: string): number {
  try {
    return openSync(join(folder, path), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    return refuseUnreadable(path, cause);
  }
}

function unsealChunks(work: UnsealWork, jobs: Jobs): void {
  const unsealer = new Unsealer(work);
  try {
    for (let job = jobs.take(); job !== undefined; job = jobs.take()) {
      jobs.addProgress(unsealer.openJob(job));
    }
  } finally {
    unsealer.close();
  }
}

servePool(unsealChunks);
