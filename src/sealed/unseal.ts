/** Opening a bundle into memory: all files or none, authenticated before anybody can read them. */

import { requireAvailableMemory } from '../../native/memory/available.ts';
import type { KeyMemory } from '../../native/memory/key-memory.ts';
import { SecretMemory } from '../../native/memory/secret-memory.ts';
import { checkContents } from './contents.ts';
import { Jobs } from './jobs.ts';
import { supervise, threadCount, type PoolOptions } from './pool.ts';
import type { IndexedFile, SealedBundle, UnlockedBundle } from './reader.ts';
import { totalChunks } from './tags.ts';
import { runUnsealLane, type UnsealFile, type UnsealWork } from './unseal-lane.ts';

/** The platform's pool has four threads by default, and each lane keeps one busy. */
const MAX_DEFAULT_LANES = 4;

export interface UnsealOptions extends PoolOptions {
  /** Which files; all of them by default. */
  readonly paths?: readonly string[] | undefined;
}

/** Plaintext in memory. Whoever holds it closes it: when the lease ends, on every error, on every signal. */
export interface UnsealedBundle {
  /** By path, in manifest order. Each is sealed against writing by anybody else. */
  readonly files: ReadonlyMap<string, SecretMemory>;
  /** Overwrites and gives back all of the memory. A second call does nothing. */
  close(): void;
}

/**
 * Opens files of a bundle on all cores.
 *
 * @param modelKey stays the caller's, and may be closed as soon as this returns
 * @throws RefusalError `sealed-key-wrong`, `sealed-chunk-tag`, `sealed-file-*`, `sealed-interrupted`,
 *   `weights-*`, `memory-*`; after any of them all memory has been overwritten and given back (SW-22)
 */
export async function unseal(
  bundle: SealedBundle,
  modelKey: KeyMemory,
  options: UnsealOptions = {},
): Promise<UnsealedBundle> {
  const files = (options.paths ?? [...bundle.files.keys()]).map((path) => bundle.file(path));
  requireAvailableMemory(files.reduce((sum, { bytes }) => sum + bytes, 0));
  const memories = new Map<string, SecretMemory>();
  const close = (): void => {
    for (const memory of memories.values()) memory.close();
  };
  const unlocked = bundle.unlock(modelKey);
  try {
    for (const { path, bytes } of files) memories.set(path, SecretMemory.allocate(bytes, 'weights'));
    await openChunks(unlocked, files, memories, options);
    for (const { path, bytes } of files) await sealAndCheck(path, bytes, memories.get(path));
    return { files: memories, close };
  } catch (error) {
    close();
    throw error;
  } finally {
    unlocked.close();
  }
}

async function openChunks(
  unlocked: UnlockedBundle,
  files: readonly IndexedFile[],
  memories: ReadonlyMap<string, SecretMemory>,
  options: PoolOptions,
): Promise<void> {
  const { folder, tags } = unlocked.bundle;
  let firstJob = 0;
  const work: UnsealWork = {
    folder,
    tags,
    files: files.map(({ path, bytes, chunks, firstTag }): UnsealFile => {
      const keyAddress = unlocked.keyAddress(path);
      const targetAddress = memories.get(path)?.address ?? 0n;
      const file = { path, bytes, chunks, firstTag, firstJob, keyAddress, targetAddress };
      firstJob += chunks;
      return file;
    }),
  };
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const jobs = new Jobs(totalChunks(files));
  const lanes = threadCount(options, totalChunks(files), MAX_DEFAULT_LANES);
  await supervise(jobs, totalBytes, options, () =>
    Array.from({ length: lanes }, () => runUnsealLane(work, jobs)),
  );
}

async function sealAndCheck(path: string, bytes: number, memory: SecretMemory | undefined): Promise<void> {
  memory?.seal();
  await checkContents(path, bytes, (offset, length) =>
    Promise.resolve(memory?.read(offset, length) ?? new Uint8Array()),
  );
}
