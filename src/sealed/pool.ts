/** Runs the same worker on several threads over one list of jobs, and turns every failure into one refusal. */

import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import {
  isRefusal,
  RefusalError,
  type Refusal,
  type RefusalFamilyName,
} from '../../attestation/core/refusal.ts';
import { Jobs } from './jobs.ts';
import { interrupted, sealedEnvironment } from './refusals.ts';

/** More threads than this gain nothing that memory can follow, and each costs a scratch buffer and a heap. */
const MAX_DEFAULT_THREADS = 8;
const PROGRESS_INTERVAL_MILLISECONDS = 100;

/** Heap of a worker: it holds the list of files and nothing that grows with their size. */
const WORKER_LIMITS = { maxOldGenerationSizeMb: 96, maxYoungGenerationSizeMb: 4 };

export interface Progress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface PoolOptions {
  /** All cores by default, up to a limit that the work sets. */
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called about ten times a second, and at the end. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

interface WorkerStart {
  readonly work: unknown;
  readonly jobCount: number;
  readonly shared: SharedArrayBuffer;
}

interface WorkerRefusal {
  readonly family: RefusalFamilyName;
  readonly refusal: Refusal;
}

/**
 * Runs a pool to its end. When this returns or throws, no thread of it runs any more.
 *
 * @param workerFile a module that calls `servePool`
 * @param work what every worker gets, copied; shared memory in it is shared
 * @throws RefusalError of a worker, `sealed-interrupted`, `sealed-worker`
 */
export async function runPool(
  workerFile: URL,
  work: unknown,
  { jobCount, totalBytes }: { readonly jobCount: number; readonly totalBytes: number },
  options: PoolOptions,
): Promise<void> {
  const jobs = new Jobs(jobCount);
  const threads = threadCount(options, jobCount, MAX_DEFAULT_THREADS);
  const start: WorkerStart = { work, jobCount, shared: jobs.shared };
  await supervise(jobs, totalBytes, options, () =>
    Array.from({ length: threads }, () => runWorker(workerFile, start, jobs)),
  );
}

/**
 * Watches over jobs from this thread: progress, the request to stop, the first failure.
 *
 * @param run starts all who take jobs; each promise resolves when it has ended, with what went wrong
 * @throws what went wrong first, `sealed-interrupted`
 */
export async function supervise(
  jobs: Jobs,
  totalBytes: number,
  { signal, onProgress }: PoolOptions,
  run: () => readonly Promise<Error | undefined>[],
): Promise<void> {
  const report = (): void => onProgress?.({ doneBytes: jobs.doneBytes, totalBytes });
  const stop = (): void => {
    jobs.stop();
  };
  if (signal?.aborted === true) stop();
  signal?.addEventListener('abort', stop);
  const timer = setInterval(report, PROGRESS_INTERVAL_MILLISECONDS);
  try {
    const failure = await firstFailure(run());
    if (failure !== undefined) throw failure;
    if (signal?.aborted === true) throw interrupted();
    if (jobs.doneBytes !== totalBytes) throw incomplete(jobs.doneBytes, totalBytes);
    report();
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', stop);
  }
}

/** Waits for all. The first in time counts: the others may only have been told to stop. */
async function firstFailure(runs: readonly Promise<Error | undefined>[]): Promise<Error | undefined> {
  let first: Error | undefined;
  const wait = async (run: Promise<Error | undefined>): Promise<void> => {
    const failure = await run;
    first ??= failure;
  };
  await Promise.all(runs.map(wait));
  return first;
}

/** @param most how many threads the work takes when its caller does not say; one is always taken */
export function threadCount({ threads }: PoolOptions, jobCount: number, most: number): number {
  const wanted = threads ?? Math.min(availableParallelism(), most);
  return Math.max(1, Math.min(Math.floor(wanted) || 1, jobCount));
}

/** Jobs that nobody finished and nobody refused must never pass for done. */
function incomplete(doneBytes: number, totalBytes: number): RefusalError {
  return sealedEnvironment.error('sealed-worker', {
    field: 'work',
    expected: `${totalBytes} bytes`,
    found: `${doneBytes} bytes`,
  });
}

/** Resolves when the thread has ended, with what went wrong in it. */
function runWorker(workerFile: URL, start: WorkerStart, jobs: Jobs): Promise<RefusalError | undefined> {
  return new Promise((resolve) => {
    let failure: RefusalError | undefined;
    const worker = new Worker(workerFile, { workerData: start, resourceLimits: WORKER_LIMITS });
    worker.on('message', ({ family, refusal }: WorkerRefusal) => {
      failure ??= new RefusalError(family, refusal);
    });
    worker.on('error', (cause) => {
      jobs.stop();
      failure ??= sealedEnvironment.error(
        'sealed-worker',
        {
          field: 'worker',
          expected: 'to finish its work',
          found: cause instanceof Error ? cause.name : 'an error',
        },
        { cause },
      );
    });
    worker.on('exit', () => {
      resolve(failure);
    });
  });
}

/**
 * The other side of `runPool`: call it once at the end of a worker's module.
 *
 * @param run takes jobs until there are none; what it throws stops all threads
 */
export function servePool(run: (work: never, jobs: Jobs) => void): void {
  if (isMainThread) return;
  const { work, jobCount, shared } = workerData as WorkerStart;
  const jobs = new Jobs(jobCount, shared);
  try {
    run(work as never, jobs);
  } catch (error) {
    jobs.stop();
    if (!isRefusal(error)) throw error;
    const { family, refusal } = error;
    parentPort?.postMessage({ family, refusal } satisfies WorkerRefusal);
  }
}
