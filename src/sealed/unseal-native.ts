/** Opening local files by the compiled part: it reads, decrypts, checks and writes on its own threads. */

import { nativeChunks, type ChunkFailure, type NativeChunks } from '../../native/chunks/chunks.ts';
import { machineSwaps, Mapping } from '../../native/memory/mapping.ts';
import type { PlannedFile, UnsealPlan } from './chunk-plan.ts';
import { refuseChunk } from './files.ts';
import type { Jobs } from './jobs.ts';
import { CHUNK_BYTES } from './layout.ts';
import { refuseCipher, refuseMemory, refuseRead, refuseShort } from './native-failure.ts';
import type { SourceFile } from './source/source.ts';

/** Files whose descriptors are open at the same time. */
const BATCH_FILES = 256;

/** The compiled part, where it is there and the files lie on this machine. */
export async function nativeFor({ source, files }: UnsealPlan): Promise<NativeChunks | undefined> {
  const [first] = files;
  if (first === undefined || (await source.locate(first.path)) === undefined) return undefined;
  return nativeChunks();
}

/**
 * Runs to the end. When it resolves, no thread works any more.
 *
 * @returns what went wrong
 */
export async function openNatively(
  native: NativeChunks,
  plan: UnsealPlan,
  threads: number,
  jobs: Jobs,
): Promise<Error | undefined> {
  const stages: Mapping[] = [];
  try {
    for (let i = 0; i < threads; i += 1) stages.push(Mapping.create(CHUNK_BYTES));
    for (let at = 0; at < plan.files.length && !jobs.stopped; at += BATCH_FILES) {
      await openBatch(native, plan, plan.files.slice(at, at + BATCH_FILES), stages, jobs);
    }
    return undefined;
  } catch (error) {
    jobs.stop();
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    for (const stage of stages) {
      stage.zeroise();
      stage.unmap();
    }
  }
}

async function openBatch(
  native: NativeChunks,
  { source, tags }: UnsealPlan,
  files: readonly PlannedFile[],
  stages: readonly Mapping[],
  jobs: Jobs,
): Promise<void> {
  const opened: SourceFile[] = [];
  try {
    for (const { path, bytes } of files) opened.push(await source.open(path, bytes));
    const failure = await native.run({
      seals: false,
      locksBefore: machineSwaps(),
      files: files.map((file, i) => chunkFile(file, opened[i])),
      tags,
      digests: new Uint8Array(0),
      stages: stages.map(({ address }) => address),
      stopped: jobs.stopFlag,
      doneBytes: jobs.progress,
    });
    if (failure !== undefined) refuse(failure, files);
  } finally {
    for (const file of opened) await file.close();
  }
}

function chunkFile(
  { bytes, chunks, firstTag, keyAddress, memory }: PlannedFile,
  from: SourceFile | undefined,
) {
  if (from?.fileDescriptor === undefined)
    throw new TypeError('a local source gave a file without a descriptor');
  const { fileDescriptor: target, lockedAddress } = memory.writeTarget;
  return { source: from.fileDescriptor, target, bytes, chunks, firstTag, keyAddress, lockedAddress };
}

function refuse({ problem, file, chunk, errorNumber }: ChunkFailure, files: readonly PlannedFile[]): never {
  const failed = files[file];
  if (failed === undefined) throw new RangeError('a failure of a file that was not given');
  switch (problem) {
    case 'tag':
      return refuseChunk(failed.path, chunk);
    case 'read':
      return refuseRead(failed.path, errorNumber);
    case 'short':
      return refuseShort(failed, chunk);
    case 'write':
    case 'lock':
      return refuseMemory(failed, errorNumber);
    case 'cipher':
      return refuseCipher();
  }
}
