/** A bundle on a mirror: any server of static files that knows ranges, or the Hugging Face hub. */

import { CHUNK_BYTES } from '../layout.ts';
import { Mirror, type MirrorOptions } from './mirror.ts';
import { RemoteReader } from './remote-reader.ts';
import { Route } from './route.ts';
import type { BundleSource, ReadOptions, ReadTarget, SourceFile } from './source.ts';

export class HttpSource implements BundleSource {
  readonly description: string;
  readonly concurrentReads: number;
  readonly #mirror: Mirror;
  /** By path. Only paths of a verified manifest are asked for, and the two files before it. */
  readonly #readers = new Map<string, RemoteReader>();

  /**
   * @param address of the folder that holds the manifest; from the operator
   * @throws RefusalError `source-address`, `source-credential`
   */
  constructor(address: string, options: MirrorOptions = {}) {
    this.#mirror = new Mirror(address, options);
    this.description = this.#mirror.address.href;
    this.concurrentReads = this.#mirror.concurrentReads;
  }

  async readSmall(
    path: string,
    maxBytes: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const reader = this.#readerOf(path);
    const totalBytes = await reader.findSize(signal);
    if (totalBytes > maxBytes) return undefined;
    const content = new Uint8Array(totalBytes);
    for (let first = 0; first < totalBytes; first += CHUNK_BYTES) {
      const last = Math.min(first + CHUNK_BYTES, totalBytes) - 1;
      await reader.read(content.subarray(first), { first, last, totalBytes }, { signal });
    }
    return content;
  }

  inventory(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  locate(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  open(path: string, bytes: number): Promise<SourceFile> {
    return Promise.resolve(new RemoteFile(path, bytes, this.#readerOf(path)));
  }

  #readerOf(path: string): RemoteReader {
    const known = this.#readers.get(path);
    if (known !== undefined) return known;
    const reader = new RemoteReader(this.#mirror, new Route(this.#mirror, path), path);
    this.#readers.set(path, reader);
    return reader;
  }
}

class RemoteFile implements SourceFile {
  readonly path: string;
  readonly bytes: number;
  readonly fileDescriptor = undefined;
  readonly #reader: RemoteReader;

  constructor(path: string, bytes: number, reader: RemoteReader) {
    this.path = path;
    this.bytes = bytes;
    this.#reader = reader;
  }

  /** No range names no bytes: where none are asked for, nothing is asked. */
  async read(target: ReadTarget, offset: number, length: number, options: ReadOptions = {}): Promise<void> {
    if (length === 0) return;
    const range = { first: offset, last: offset + length - 1, totalBytes: this.bytes };
    await this.#reader.read(target, range, options);
  }

  /** Connections belong to the mirror. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}
