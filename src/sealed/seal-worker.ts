/**
 * One thread of sealing: takes files, and in one pass reads, encrypts, writes and hashes each. Files run side by side
 * and the chunks of one file one after another, because the digest of a file can only be taken in order and is what
 * takes most of the time.
 */

import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { Aes256Gcm } from '../../native/memory/aes-gcm.ts';
import { refuseUnreadable } from './files.ts';
import type { Jobs } from './jobs.ts';
import { chunkNonce } from './keys.ts';
import { CHUNK_BYTES, chunkLength, DIGEST_BYTES, TAG_BYTES } from './layout.ts';
import { servePool } from './pool.ts';
import { refuseNotWritten, refuseSourceChanged } from './refusals.ts';

/** One file to seal. */
export interface SealFile {
  readonly path: string;
  readonly bytes: number;
  readonly chunks: number;
  readonly keyAddress: bigint;
  /** Place of the first chunk's tag in the table. */
  readonly firstTag: number;
  /** Place of the file's digest in the table. */
  readonly digestIndex: number;
}

export interface SealWork {
  readonly source: string;
  readonly target: string;
  readonly files: readonly SealFile[];
  /** Filled by the workers. */
  readonly tags: Uint8Array<SharedArrayBuffer>;
  readonly digests: Uint8Array<SharedArrayBuffer>;
}

class Sealer {
  readonly #work: SealWork;
  readonly #jobs: Jobs;
  readonly #cipher = new Aes256Gcm();
  readonly #buffer = new Uint8Array(CHUNK_BYTES);

  constructor(work: SealWork, jobs: Jobs) {
    this.#work = work;
    this.#jobs = jobs;
  }

  sealFile(file: SealFile): void {
    const source = openSource(this.#work.source, file);
    try {
      const target = openTarget(this.#work.target, file.path);
      try {
        const digest = this.#sealChunks(file, source, target);
        refuseOtherSize(file, source);
        this.#work.digests.set(digest, file.digestIndex * DIGEST_BYTES);
        onTarget(file.path, () => {
          fsyncSync(target);
        });
      } finally {
        closeSync(target);
      }
    } finally {
      closeSync(source);
    }
  }

  #sealChunks(file: SealFile, source: number, target: number): Uint8Array {
    const hash = createHash('sha256');
    for (let index = 0; index < file.chunks && !this.#jobs.stopped; index += 1) {
      const chunk = this.#buffer.subarray(0, chunkLength(file.bytes, index));
      readChunk(file, source, chunk, index * CHUNK_BYTES);
      this.#sealChunk(file, index, chunk, hash);
      writeChunk(file.path, target, chunk, index * CHUNK_BYTES);
      this.#jobs.addProgress(chunk.length);
    }
    return hash.digest();
  }

  #sealChunk(file: SealFile, index: number, chunk: Uint8Array, hash: Hash): void {
    this.#cipher.start('seal', file.keyAddress, chunkNonce(index, index === file.chunks - 1));
    this.#cipher.update(chunk, chunk.length);
    this.#work.tags.set(this.#cipher.finishSealing(), (file.firstTag + index) * TAG_BYTES);
    hash.update(chunk);
  }

  close(): void {
    this.#buffer.fill(0);
    this.#cipher.close();
  }
}

function openSource(folder: string, file: SealFile): number {
  try {
    return openSync(join(folder, file.path), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    return refuseUnreadable(file.path, cause);
  }
}

/** A file that has become shorter shows while it is read; one that has become longer shows here. */
function refuseOtherSize(file: SealFile, source: number): void {
  if (fstatSync(source).size !== file.bytes) refuseSourceChanged(file.path, file.bytes);
}

function readChunk(file: SealFile, source: number, chunk: Uint8Array, offset: number): void {
  let filled = 0;
  while (filled < chunk.length) {
    const count = readSome(file, source, chunk.subarray(filled), offset + filled);
    if (count === 0) refuseSourceChanged(file.path, file.bytes);
    filled += count;
  }
}

function readSome(file: SealFile, source: number, target: Uint8Array, offset: number): number {
  try {
    return readSync(source, target, 0, target.length, offset);
  } catch (cause) {
    return refuseUnreadable(file.path, cause);
  }
}

function openTarget(folder: string, path: string): number {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  return onTarget(path, () => openSync(join(folder, path), flags, 0o644));
}

function writeChunk(path: string, target: number, chunk: Uint8Array, offset: number): void {
  onTarget(path, () => {
    for (let at = 0; at < chunk.length;) at += writeSync(target, chunk, at, chunk.length - at, offset + at);
  });
}

function onTarget<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    return refuseNotWritten(path, cause);
  }
}

function sealFiles(work: SealWork, jobs: Jobs): void {
  const sealer = new Sealer(work, jobs);
  try {
    for (let job = jobs.take(); job !== undefined; job = jobs.take()) {
      const file = work.files[job];
      if (file !== undefined) sealer.sealFile(file);
    }
  } finally {
    sealer.close();
  }
}

servePool(sealFiles);
