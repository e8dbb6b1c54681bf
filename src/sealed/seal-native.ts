/** Sealing a batch of files by the compiled part: it reads, encrypts, writes and hashes on its own threads. */

import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import type { ChunkFailure, NativeChunks } from '../../native/chunks/chunks.ts';
import { Mapping } from '../../native/memory/mapping.ts';
import { openRegularFile } from './files.ts';
import type { Jobs } from './jobs.ts';
import { CHUNK_BYTES, DIGEST_BYTES } from './layout.ts';
import { errorName, refuseCipher, refuseRead } from './native-failure.ts';
import { refuseNotWritten, refuseSourceChanged } from './refusals.ts';
import type { SealFile, SealWork } from './seal-worker.ts';

interface Opened {
  readonly source: FileHandle;
  readonly target: FileHandle;
}

/**
 * Runs to the end; what was written is durable then. No thread works any more when it resolves.
 *
 * @returns what went wrong
 */
export async function sealNatively(
  native: NativeChunks,
  work: SealWork,
  threads: number,
  jobs: Jobs,
): Promise<Error | undefined> {
  const stages: Mapping[] = [];
  const opened: Opened[] = [];
  try {
    for (let i = 0; i < threads; i += 1) stages.push(Mapping.create(CHUNK_BYTES));
    for (const file of work.files) opened.push(await openPair(work, file));
    await sealOpened(native, work, opened, stages, jobs);
    if (!jobs.stopped)
      await Promise.all(opened.map(({ target }, i) => sync(target, work.files[i]?.path ?? '')));
    return undefined;
  } catch (error) {
    jobs.stop();
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    for (const { source, target } of opened) await Promise.all([source.close(), target.close()]);
    for (const stage of stages) {
      stage.zeroise();
      stage.unmap();
    }
  }
}

async function openPair({ source: from, target: to }: SealWork, { path, bytes }: SealFile): Promise<Opened> {
  const { handle: source, bytes: found } = await openRegularFile(from, path);
  try {
    if (found !== bytes) refuseSourceChanged(path, bytes);
    const target = await open(join(to, path), 'wx', 0o644).catch((cause: unknown) =>
      refuseNotWritten(path, cause),
    );
    return { source, target };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function sealOpened(
  native: NativeChunks,
  { files, tags, digests }: SealWork,
  opened: readonly Opened[],
  stages: readonly Mapping[],
  jobs: Jobs,
): Promise<void> {
  const found = new Uint8Array(DIGEST_BYTES * files.length);
  const failure = await native.run({
    seals: true,
    locksBefore: false,
    files: opened.map(({ source, target }, i) => ({
      ...(files[i] as SealFile),
      source: source.fd,
      target: target.fd,
      lockedAddress: 0n,
    })),
    tags,
    digests: found,
    stages: stages.map(({ address }) => address),
    stopped: jobs.stopFlag,
    doneBytes: jobs.progress,
  });
  if (failure !== undefined) refuse(failure, files);
  for (const [i, { digestIndex }] of files.entries()) {
    digests.set(found.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES), digestIndex * DIGEST_BYTES);
  }
}

async function sync(target: FileHandle, path: string): Promise<void> {
  await target.sync().catch((cause: unknown) => refuseNotWritten(path, cause));
}

function refuse({ problem, file, errorNumber }: ChunkFailure, files: readonly SealFile[]): never {
  const failed = files[file];
  if (failed === undefined) throw new RangeError('a failure of a file that was not given');
  switch (problem) {
    case 'read':
      return refuseRead(failed.path, errorNumber);
    case 'short':
      return refuseSourceChanged(failed.path, failed.bytes);
    case 'write':
      return refuseNotWritten(failed.path, { code: errorName(errorNumber) });
    case 'tag':
    case 'lock':
    case 'cipher':
      return refuseCipher();
  }
}
