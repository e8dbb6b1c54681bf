/** A bundle in a folder of this machine. */

import { lstat, readlink, realpath, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { excerpt } from '../../../attestation/core/bytes.ts';
import { libc } from '../../../native/memory/libc.ts';
import { fileRefusals } from '../../platform/files.ts';
import { listFiles, openFileAt, readFully, refuseKind, refuseMissing, refuseSize } from '../files.ts';
import { MANIFEST_PATH } from '../layout.ts';
import { interrupted, sealedEnvironment, systemErrorName } from '../refusals.ts';
import { blobOf, isHubFile, layoutOf, type FolderLayout } from './hub-folder.ts';
import type { BundleSource, ReadOptions, ReadTarget, SourceFile } from './source.ts';

/** The platform's pool reads with four threads by default. */
const CONCURRENT_READS = 4;

export class FolderSource implements BundleSource {
  readonly description: string;
  readonly concurrentReads = CONCURRENT_READS;
  readonly #folder: string;
  readonly #layout: FolderLayout;

  private constructor(description: string, folder: string, layout: FolderLayout) {
    this.description = description;
    this.#folder = folder;
    this.#layout = layout;
  }

  /** @throws RefusalError `file-not-found` when there is no manifest at all */
  static async at(folder: string): Promise<FolderSource> {
    try {
      const place = await realpath(folder);
      await lstat(join(place, MANIFEST_PATH));
      return new FolderSource(folder, place, await layoutOf(place));
    } catch (cause) {
      throw fileRefusals.error(
        'file-not-found',
        { field: join(folder, MANIFEST_PATH), expected: 'a sealed bundle', found: systemErrorName(cause) },
        { cause },
      );
    }
  }

  async readSmall(path: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { handle, bytes } = await openFileAt(await this.locate(path), path);
    try {
      if (bytes > maxBytes) return undefined;
      const content = new Uint8Array(bytes);
      await readFully(handle, content, 0, path);
      return content;
    } finally {
      await handle.close();
    }
  }

  async inventory(): Promise<readonly string[]> {
    const skips = (path: string): boolean => this.#layout.isFromHub && isHubFile(path);
    return await listFiles(this.#folder, { skips, checkLink: (path) => this.locate(path) });
  }

  async open(path: string, bytes: number): Promise<SourceFile> {
    const { handle, bytes: found } = await openFileAt(await this.locate(path), path);
    if (found === bytes) return new LocalFile(path, bytes, handle);
    await handle.close();
    return refuseSize(path, bytes, found);
  }

  /** SW-31: what a link says is checked as text, and the blob is then opened by its own name. */
  async locate(path: string): Promise<string> {
    const place = join(this.#folder, path);
    const status = await lstat(place).catch((cause: unknown) => refuseMissing(path, cause));
    if (status.isFile()) return place;
    const { blobs } = this.#layout;
    if (!status.isSymbolicLink() || blobs === undefined) return refuseKind(path);
    const text = await readlink(place).catch((cause: unknown) => refuseMissing(path, cause));
    return blobOf(blobs, place, text) ?? refuseKind(path);
  }
}

class LocalFile implements SourceFile {
  readonly path: string;
  readonly bytes: number;
  readonly #handle: FileHandle;

  constructor(path: string, bytes: number, handle: FileHandle) {
    this.path = path;
    this.bytes = bytes;
    this.#handle = handle;
  }

  get fileDescriptor(): number {
    return this.#handle.fd;
  }

  async read(target: ReadTarget, offset: number, length: number, options: ReadOptions = {}): Promise<void> {
    if (options.signal?.aborted === true) throw interrupted();
    if (target instanceof Uint8Array) {
      await readFully(this.#handle, target.subarray(0, length), offset, this.path);
    } else {
      await this.#readToAddress(target.address, offset, length);
    }
  }

  async #readToAddress(address: bigint, offset: number, length: number): Promise<void> {
    let filled = 0;
    while (filled < length) {
      const place = address + BigInt(filled);
      const count = await libc().preadAsync(this.fileDescriptor, place, length - filled, offset + filled);
      if (count === 0) refuseSize(this.path, this.bytes, offset + filled);
      if (count < 0) {
        throw sealedEnvironment.error('sealed-not-readable', {
          field: excerpt(this.path),
          expected: 'a readable file',
          found: 'an error while reading',
        });
      }
      filled += count;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
