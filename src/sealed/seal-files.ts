/** Sealing the files of a bundle in batches: when one is written durably, the record says so. */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import { toHex } from '../../attestation/core/bytes.ts';
import { nativeChunks } from '../../native/chunks/chunks.ts';
import type { KeyMemory } from '../../native/memory/key-memory.ts';
import { Jobs } from './jobs.ts';
import { deriveFileKeys } from './keys.ts';
import { DIGEST_BYTES, KEY_BYTES, TAG_BYTES } from './layout.ts';
import type { SealedFile } from './manifest.ts';
import { runPool, supervise, threadCount, type PoolOptions } from './pool.ts';
import { refuseSourceChanged } from './refusals.ts';
import { sealNatively } from './seal-native.ts';
import type { SealFile, SealWork } from './seal-worker.ts';
import type { FinishedFile, SealingRecord } from './sealing-record.ts';
import { totalChunks } from './tags.ts';

const SEAL_WORKER = new URL('./seal-worker.ts', import.meta.url);

/** A batch ends with the first file that takes it over one of these. */
const BATCH_FILES = 256;
const BATCH_BYTES = 8 * 2 ** 30;

/** Each has a chunk of scratch memory. */
const MAX_DEFAULT_THREADS = 8;

/** A file of the source folder. */
export interface SourceFile extends Omit<SealedFile, 'sha256'> {
  /** Changes whenever the file does: device, inode, size, times of modification and change. */
  readonly identity: string;
}

export interface SealingPlan {
  readonly source: string;
  readonly target: string;
  readonly salt: Uint8Array;
  readonly modelKey: KeyMemory;
  /** All files of the bundle; those that the record has are left alone. */
  readonly files: readonly SourceFile[];
}

export interface SealFilesOptions extends PoolOptions {
  /** Leaves the compiled part aside even where it is there. */
  readonly portable?: boolean | undefined;
}

/** @throws RefusalError `sealed-*`, `memory-*`; the record then has what was finished before */
export async function sealFiles(
  plan: SealingPlan,
  record: SealingRecord,
  options: SealFilesOptions,
): Promise<void> {
  const finished = record.finished();
  const totalBytes = sumBytes(plan.files);
  const remaining = plan.files.filter(({ path }) => !finished.has(path));
  let doneBytes = totalBytes - sumBytes(remaining);
  for (const batch of batches(remaining)) {
    const before = doneBytes;
    const onProgress: PoolOptions['onProgress'] = (progress) =>
      options.onProgress?.({ doneBytes: before + progress.doneBytes, totalBytes });
    record.finish(await sealBatch(plan, batch, { ...options, onProgress }));
    doneBytes += sumBytes(batch);
  }
}

export function sumBytes(files: readonly { readonly bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

function* batches(files: readonly SourceFile[]): Generator<readonly SourceFile[]> {
  let batch: SourceFile[] = [];
  for (const file of files) {
    batch.push(file);
    if (batch.length < BATCH_FILES && sumBytes(batch) < BATCH_BYTES) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

async function sealBatch(
  { source, target, salt, modelKey }: SealingPlan,
  batch: readonly SourceFile[],
  options: SealFilesOptions,
): Promise<readonly FinishedFile[]> {
  const tags = new Uint8Array(new SharedArrayBuffer(TAG_BYTES * totalChunks(batch)));
  const digests = new Uint8Array(new SharedArrayBuffer(DIGEST_BYTES * batch.length));
  const keys = deriveFileKeys(modelKey, salt, batch);
  const files = sealJobs(batch, keys);
  try {
    await runBatch({ source, target, files: largestFirst(files), tags, digests }, options);
  } finally {
    keys.close();
  }
  await refuseChanges(source, batch);
  return files.map(({ path, chunks, firstTag }, i) => ({
    path,
    sha256: toHex(digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)),
    tags: tags.slice(firstTag * TAG_BYTES, (firstTag + chunks) * TAG_BYTES),
  }));
}

function sealJobs(batch: readonly SourceFile[], keys: KeyMemory): readonly SealFile[] {
  let firstTag = 0;
  return batch.map(({ path, bytes, chunks }, digestIndex) => {
    const keyAddress = keys.address + BigInt(digestIndex * KEY_BYTES);
    const job = { path, bytes, chunks, keyAddress, firstTag, digestIndex };
    firstTag += chunks;
    return job;
  });
}

/** So that no thread is left alone with a large one at the end. */
function largestFirst(files: readonly SealFile[]): readonly SealFile[] {
  return files.toSorted((left, right) => right.bytes - left.bytes);
}

async function runBatch(work: SealWork, options: SealFilesOptions): Promise<void> {
  const totalBytes = sumBytes(work.files);
  const native = options.portable === true ? undefined : nativeChunks();
  if (native === undefined) {
    await runPool(SEAL_WORKER, work, { jobCount: work.files.length, totalBytes }, options);
    return;
  }
  const chunks = totalChunks(work.files);
  const jobs = new Jobs(chunks);
  const threads = threadCount(options, chunks, MAX_DEFAULT_THREADS);
  await supervise(jobs, totalBytes, options, () => [sealNatively(native, work, threads, jobs)]);
}

/** SW-26: what is sealed is what was listed. Of a file that changes, two versions could stand under one nonce. */
async function refuseChanges(source: string, batch: readonly SourceFile[]): Promise<void> {
  for (const { path, bytes, identity } of batch) {
    const status = await stat(join(source, path), { bigint: true }).catch(() => undefined);
    if (status === undefined || fileIdentity(status) !== identity) refuseSourceChanged(path, bytes);
  }
}

export function fileIdentity(status: {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = status;
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}
