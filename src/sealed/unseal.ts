/** Opening a bundle into memory: all files or none, authenticated before anybody can read them. */

import { requireAvailableMemory } from '../../native/memory/available.ts';
import type { KeyMemory } from '../../native/memory/key-memory.ts';
import { SecretMemory } from '../../native/memory/secret-memory.ts';
import type { PlannedFile, UnsealPlan } from './chunk-plan.ts';
import { checkContents } from './contents.ts';
import { Jobs } from './jobs.ts';
import { supervise, threadCount, type PoolOptions } from './pool.ts';
import type { IndexedFile, SealedBundle, UnlockedBundle } from './reader.ts';
import { totalChunks } from './tags.ts';
import { runUnsealLane } from './unseal-lane.ts';
import { nativeFor, openNatively } from './unseal-native.ts';

/** Each has a chunk of scratch memory: more than these would gain little and break the bound of SW-23. */
const MAX_DEFAULT_THREADS = 8;
/** The platform's pool has four threads by default, and each lane on a local file keeps one busy. */
const MAX_DEFAULT_LANES = 4;

export interface UnsealOptions extends PoolOptions {
  /** Which files; all of them by default. */
  readonly paths?: readonly string[] | undefined;
  /** Leaves the compiled part aside even where it is there. */
  readonly portable?: boolean | undefined;
}

/** Plaintext in memory. Whoever holds it closes it: when the lease ends, on every error, on every signal. */
export interface UnsealedBundle {
  /** By path, in manifest order. Each is sealed against writing by anybody else. */
  readonly files: ReadonlyMap<string, SecretMemory>;
  /** By which way it was opened: the compiled one, or the one that runs everywhere and from every source. */
  readonly way: 'native' | 'portable';
  /** Overwrites and gives back all of the memory. A second call does nothing. */
  close(): void;
}

/**
 * Opens files of a bundle on all cores.
 *
 * @param modelKey stays the caller's, and may be closed as soon as this returns
 * @throws RefusalError `sealed-key-wrong`, `sealed-chunk-tag`, `sealed-file-*`, `sealed-interrupted`, `source-*`,
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
    const way = await openFiles(planFor(unlocked, files, memories), options);
    for (const { path, bytes } of files) await sealAndCheck(path, bytes, memories.get(path));
    return { files: memories, way, close };
  } catch (error) {
    close();
    throw error;
  } finally {
    unlocked.close();
  }
}

function planFor(
  unlocked: UnlockedBundle,
  files: readonly IndexedFile[],
  memories: ReadonlyMap<string, SecretMemory>,
): UnsealPlan {
  const { source, tags } = unlocked.bundle;
  const planned: PlannedFile[] = [];
  let firstJob = 0;
  for (const file of files) {
    const memory = memories.get(file.path);
    if (memory === undefined) throw new TypeError('a file without memory');
    planned.push({ ...file, keyAddress: unlocked.keyAddress(file.path), memory, firstJob });
    firstJob += file.chunks;
  }
  return { source, files: planned, tags };
}

async function openFiles(plan: UnsealPlan, options: UnsealOptions): Promise<UnsealedBundle['way']> {
  const chunks = totalChunks(plan.files);
  const totalBytes = plan.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const jobs = new Jobs(chunks);
  const native = options.portable === true ? undefined : await nativeFor(plan);
  if (native !== undefined) {
    const threads = threadCount(options, chunks, MAX_DEFAULT_THREADS);
    await supervise(jobs, totalBytes, options, () => [openNatively(native, plan, threads, jobs)]);
    return 'native';
  }
  const lanes = threadCount(options, chunks, Math.max(MAX_DEFAULT_LANES, plan.source.concurrentReads));
  // A lane that waits for a mirror looks at no flag: what stops the others has to reach it too.
  const failed = new AbortController();
  const signal =
    options.signal === undefined ? failed.signal : AbortSignal.any([failed.signal, options.signal]);
  const runLane = async (): Promise<Error | undefined> => {
    const failure = await runUnsealLane(plan, jobs, signal);
    if (failure !== undefined) failed.abort();
    return failure;
  };
  await supervise(jobs, totalBytes, options, () => Array.from({ length: lanes }, runLane));
  return 'portable';
}

async function sealAndCheck(path: string, bytes: number, memory: SecretMemory | undefined): Promise<void> {
  memory?.seal();
  await checkContents(path, bytes, (offset, length) =>
    Promise.resolve(memory?.read(offset, length) ?? new Uint8Array()),
  );
}
