/** Worker threads that begin together: the time to start them is not part of what is measured. */

import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

interface ThreadStart {
  readonly data: unknown;
  readonly gate: SharedArrayBuffer;
}

type ThreadMessage = { readonly kind: 'ready' } | { readonly kind: 'done'; readonly result: unknown };

export interface ThreadsResult<Result> {
  /** From the moment that all were let go until the last was done. */
  readonly seconds: number;
  readonly results: readonly Result[];
}

/** @param file a module that calls `serveThread` */
export async function runThreads<Result>(
  file: URL,
  count: number,
  data: unknown,
): Promise<ThreadsResult<Result>> {
  const gate = new SharedArrayBuffer(4);
  const threads = Array.from({ length: count }, () => startThread<Result>(file, { data, gate }));
  await Promise.all(threads.map(({ ready }) => ready));
  const startedAt = performance.now();
  const opened = new Int32Array(gate);
  Atomics.store(opened, 0, 1);
  Atomics.notify(opened, 0);
  const results = await Promise.all(threads.map(({ done }) => done));
  return { seconds: (performance.now() - startedAt) / 1000, results };
}

function startThread<Result>(file: URL, start: ThreadStart) {
  const ready = Promise.withResolvers<undefined>();
  const done = Promise.withResolvers<Result>();
  const worker = new Worker(file, { workerData: start });
  worker.on('message', (message: ThreadMessage) => {
    if (message.kind === 'ready') ready.resolve(undefined);
    else done.resolve(message.result as Result);
  });
  worker.on('error', (error) => {
    ready.reject(error);
    done.reject(error);
  });
  return { ready: ready.promise, done: done.promise };
}

/**
 * The other side: prepares, waits until all are ready, then works. Does nothing where the module is only imported.
 *
 * @param prepare takes what is needed, and returns the work that is measured
 */
export function serveThread(prepare: (data: never) => () => unknown): void {
  if (isMainThread) return;
  const { data, gate } = workerData as ThreadStart;
  const work = prepare(data as never);
  parentPort?.postMessage({ kind: 'ready' } satisfies ThreadMessage);
  Atomics.wait(new Int32Array(gate), 0, 0);
  parentPort?.postMessage({ kind: 'done', result: work() } satisfies ThreadMessage);
}
