/**
 * Reading bundles. `SealedBundle.open` checks all that can be checked without reading the weights; `verify` reads
 * every byte of ciphertext and needs no key; `unlock` gives random access to single files.
 */

import { excerpt } from '../../attestation/core/bytes.ts';
import { Aes256Gcm } from '../../native/memory/aes-gcm.ts';
import type { KeyMemory } from '../../native/memory/key-memory.ts';
import { fileRefusals } from '../platform/files.ts';
import type { DigestWork, LocatedFile } from './digest-worker.ts';
import { refuseChunk } from './files.ts';
import { checkKeyCommitment, chunkNonce, deriveFileKeys } from './keys.ts';
import {
  CHUNK_BYTES,
  chunkLength,
  KEY_BYTES,
  MANIFEST_PATH,
  MAX_MANIFEST_BYTES,
  TAGS_PATH,
} from './layout.ts';
import { openManifest, type ManifestTrust, type SealedFile, type TrustedManifest } from './manifest.ts';
import { runPool, type PoolOptions } from './pool.ts';
import { sealedMalformed, sealedUsage } from './refusals.ts';
import { FolderSource } from './source/folder-source.ts';
import { mayReadAgain, type BundleSource, type SourceFile } from './source/source.ts';
import { verifyInOrder } from './source/verify.ts';
import { readTags, tagAt } from './tags.ts';

const DIGEST_WORKER = new URL('./digest-worker.ts', import.meta.url);

/** A file of a bundle, with the place of its first tag in the table of tags. */
export interface IndexedFile extends SealedFile {
  readonly firstTag: number;
}

export class SealedBundle {
  readonly source: BundleSource;
  readonly manifest: TrustedManifest;
  /** By path, in manifest order. */
  readonly files: ReadonlyMap<string, IndexedFile>;
  /** All tags, authentic. */
  readonly tags: Uint8Array;

  private constructor(source: BundleSource, manifest: TrustedManifest, tags: Uint8Array) {
    this.source = source;
    this.manifest = manifest;
    this.tags = tags;
    this.files = indexFiles(manifest.files);
  }

  /**
   * Opens a bundle: manifest and tags are verified, and in a folder the inventory and all sizes (SW-30).
   *
   * @param from a source, or a folder
   * @param trust by what the caller trusts the manifest (SW-19)
   * @throws RefusalError of `openManifest` and `readTags`, `sealed-file-*`, `file-*`, `source-*`,
   *   `sealed-interrupted`
   */
  static async open(
    from: BundleSource | string,
    trust: ManifestTrust,
    signal?: AbortSignal,
  ): Promise<SealedBundle> {
    const source = typeof from === 'string' ? await FolderSource.at(from) : from;
    const manifest = openManifest(await readManifest(source, signal), trust);
    const tags = await readTags(source, manifest, signal);
    const bundle = new SealedBundle(source, manifest, tags);
    await checkInventory(bundle);
    return bundle;
  }

  get totalBytes(): number {
    return this.manifest.files.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** @throws RefusalError `sealed-file-unknown` */
  file(path: string): IndexedFile {
    const file = this.files.get(path);
    if (file !== undefined) return file;
    throw sealedUsage.error('sealed-file-unknown', {
      field: excerpt(path),
      expected: 'a path of the manifest',
      found: `none of its ${this.files.size} files`,
    });
  }

  /**
   * Reads all ciphertext and compares its digests (SW-20); needs no key.
   *
   * @throws RefusalError `sealed-file-digest`, `sealed-file-size`, `sealed-not-readable`, `sealed-interrupted`,
   *   `source-*`
   */
  async verify(options: PoolOptions = {}): Promise<void> {
    const files: LocatedFile[] = [];
    for (const file of this.manifest.files) {
      const place = await this.source.locate(file.path);
      if (place !== undefined) files.push({ ...file, place });
    }
    if (files.length < this.files.size) {
      await verifyInOrder(this.source, this.manifest.files, options);
    } else {
      const amount = { jobCount: files.length, totalBytes: this.totalBytes };
      await runPool(DIGEST_WORKER, { files } satisfies DigestWork, amount, options);
    }
  }

  /**
   * Checks a model key against the commitment and derives the keys of the files. The model key stays the caller's.
   *
   * @throws RefusalError `sealed-key-wrong`, `sealed-key-length`, `memory-*`
   */
  unlock(modelKey: KeyMemory): UnlockedBundle {
    checkKeyCommitment(modelKey, this.manifest.salt, this.manifest.keyCommitment);
    return new UnlockedBundle(this, deriveFileKeys(modelKey, this.manifest.salt, this.manifest.files));
  }
}

function indexFiles(files: readonly SealedFile[]): ReadonlyMap<string, IndexedFile> {
  const indexed = new Map<string, IndexedFile>();
  let firstTag = 0;
  for (const file of files) {
    indexed.set(file.path, { ...file, firstTag });
    firstTag += file.chunks;
  }
  return indexed;
}

async function readManifest(source: BundleSource, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const content = await source.readSmall(MANIFEST_PATH, MAX_MANIFEST_BYTES, signal);
  if (content !== undefined) return content;
  throw fileRefusals.error('file-too-large', {
    field: MANIFEST_PATH,
    expected: `at most ${MAX_MANIFEST_BYTES} bytes`,
    found: 'more',
  });
}

/** SW-1, SW-4: exactly the files that are signed, each of its size, wherever a source can say so. */
async function checkInventory({ source, files }: SealedBundle): Promise<void> {
  const found = await source.inventory();
  if (found === undefined) return;
  for (const path of new Set(found)) {
    if (files.has(path) || path === MANIFEST_PATH || path === TAGS_PATH) continue;
    throw sealedMalformed.error('sealed-file-extra', {
      field: excerpt(path),
      expected: 'files of the manifest only',
      found: 'another file',
    });
  }
  for (const { path, bytes } of files.values()) await (await source.open(path, bytes)).close();
}

/** A bundle together with its keys: plaintext of any range of any file. Close it to overwrite the keys. */
export class UnlockedBundle {
  readonly bundle: SealedBundle;
  readonly #keys: KeyMemory;
  readonly #cipher = new Aes256Gcm();
  readonly #keyIndexes: ReadonlyMap<string, number>;

  constructor(bundle: SealedBundle, keys: KeyMemory) {
    this.bundle = bundle;
    this.#keys = keys;
    this.#keyIndexes = new Map([...bundle.files.keys()].map((path, i) => [path, i]));
  }

  /** Where the key of a file lies in this process's memory; valid until `close`. */
  keyAddress(path: string): bigint {
    return this.#keys.address + BigInt((this.#keyIndexes.get(path) ?? 0) * KEY_BYTES);
  }

  /**
   * Reads a range of the plaintext of a file into ordinary memory: for headers and single tensors. Every chunk that
   * the range touches is authenticated as a whole first.
   *
   * @throws RefusalError `sealed-file-unknown`, `sealed-range`, `sealed-chunk-tag`, `sealed-file-*`, `source-*`,
   *   `memory-closed`
   */
  async readAt(path: string, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const file = this.bundle.file(path);
    checkRange(file, offset, length);
    const plaintext = new Uint8Array(length);
    if (length === 0) return plaintext;
    const source = await this.bundle.source.open(path, file.bytes);
    try {
      const last = Math.floor((offset + length - 1) / CHUNK_BYTES);
      for (let index = Math.floor(offset / CHUNK_BYTES); index <= last; index += 1) {
        const chunk = await this.#openChunk(file, index, source);
        const from = Math.max(0, offset - index * CHUNK_BYTES);
        const to = Math.min(chunk.length, offset + length - index * CHUNK_BYTES);
        plaintext.set(chunk.subarray(from, to), index * CHUNK_BYTES + from - offset);
        chunk.fill(0);
      }
      return plaintext;
    } catch (error) {
      plaintext.fill(0);
      throw error;
    } finally {
      await source.close();
    }
  }

  /** The plaintext of a chunk; whoever asks for it overwrites it. */
  async #openChunk(file: IndexedFile, index: number, source: SourceFile): Promise<Uint8Array> {
    const chunk = new Uint8Array(chunkLength(file.bytes, index));
    await source.read(chunk, index * CHUNK_BYTES, chunk.length);
    if (this.#openInPlace(file, index, chunk)) return chunk;
    if (!mayReadAgain(source)) return refuseChunk(file.path, index);
    await source.read(chunk, index * CHUNK_BYTES, chunk.length, { again: true });
    return this.#openInPlace(file, index, chunk) ? chunk : refuseChunk(file.path, index);
  }

  /** Overwrites the chunk when it is not authentic. */
  #openInPlace(file: IndexedFile, index: number, chunk: Uint8Array): boolean {
    this.#cipher.start('open', this.keyAddress(file.path), chunkNonce(index, index === file.chunks - 1));
    this.#cipher.update(chunk, chunk.length);
    if (this.#cipher.finishOpening(tagAt(this.bundle.tags, file.firstTag + index))) return true;
    chunk.fill(0);
    return false;
  }

  close(): void {
    this.#keys.close();
    this.#cipher.close();
  }
}

function checkRange(file: SealedFile, offset: number, length: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (whole && offset >= 0 && length >= 0 && offset + length <= file.bytes) return;
  throw sealedUsage.error('sealed-range', {
    field: excerpt(file.path),
    expected: `a range within ${file.bytes} bytes`,
    found: `${length} bytes at ${offset}`,
  });
}
