/** A file that is being fetched, on disk: what lies there is hashed again, what comes is added (SW-42). */

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, rm, type FileHandle } from 'node:fs/promises';

import { refuseKind } from '../files.ts';
import { CHUNK_BYTES } from '../layout.ts';
import { systemErrorName } from '../refusals.ts';
import { fetchEnvironment } from './refusals.ts';

const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** Ciphertext: nobody is kept from it. */
const MODE = 0o644;

/** Runs what writes, and refuses when it cannot. @param path by which the refusal names the file */
export async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'RefusalError') throw cause;
    const facts = { field: path, expected: 'to be written', found: systemErrorName(cause) };
    throw fetchEnvironment.error('fetch-not-written', facts, { cause });
  }
}

/**
 * How much of a file lies there from an earlier fetch. More than the file can hold counts as nothing.
 *
 * @throws RefusalError `sealed-file-kind`
 */
export async function bytesKept(
  place: string,
  file: { readonly path: string; readonly bytes: number },
): Promise<number> {
  const status = await lstat(place).catch(() => undefined);
  if (status === undefined) return 0;
  if (!status.isFile()) return refuseKind(file.path);
  return status.size <= file.bytes ? status.size : 0;
}

export class PartialFile {
  readonly #handle: FileHandle;
  readonly #hash = createHash('sha256');
  #end = 0;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /**
   * Opens or makes a file, keeps its first bytes and drops what follows.
   *
   * @param kept how many bytes stay; they are read and hashed
   */
  static async open(place: string, kept: number): Promise<PartialFile> {
    const handle = await open(place, FLAGS, MODE);
    const partial = new PartialFile(handle);
    try {
      await handle.truncate(kept);
      await partial.#hashKept(kept);
      return partial;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #hashKept(kept: number): Promise<void> {
    const buffer = new Uint8Array(CHUNK_BYTES);
    while (this.#end < kept) {
      const { bytesRead } = await this.#handle.read(
        buffer,
        0,
        Math.min(buffer.length, kept - this.#end),
        this.#end,
      );
      if (bytesRead === 0) throw new Error('the file became shorter');
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#end += bytesRead;
    }
  }

  async append(content: Uint8Array): Promise<void> {
    let written = 0;
    while (written < content.length) {
      const rest = content.length - written;
      const { bytesWritten } = await this.#handle.write(content, written, rest, this.#end + written);
      written += bytesWritten;
    }
    this.#hash.update(content);
    this.#end += content.length;
  }

  /** Puts the file on disk for good and closes it. @returns its SHA-256, lower-case hex */
  async finish(): Promise<string> {
    try {
      await this.#handle.sync();
    } finally {
      await this.#handle.close();
    }
    return this.#hash.digest('hex');
  }

  /** Closes the file as far as it has come. */
  async leave(): Promise<void> {
    await this.#handle.close();
  }
}

export async function removeFile(place: string): Promise<void> {
  await rm(place, { force: true });
}
