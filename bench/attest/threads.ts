/** Threads that live through all runs, each with the subject and its own memory. */

import { Worker } from 'node:worker_threads';

import type { Subject } from './reports.ts';
import type { ThreadData, ThreadOrder } from './verify-worker.ts';
import { WORKS } from './work.ts';
import type { WorkResult } from './work.ts';

const WARM_UP_SECONDS = 2;

export class Threads implements AsyncDisposable {
  private readonly workers: readonly Worker[];

  private constructor(workers: readonly Worker[]) {
    this.workers = workers;
  }

  static async start(count: number, subject: Subject): Promise<Threads> {
    const data: ThreadData = { subject };
    const file = new URL('verify-worker.ts', import.meta.url);
    const workers = Array.from({ length: count }, () => new Worker(file, { workerData: data }));
    const threads = new Threads(workers);
    // Loads the code and lets the compiler see it, so that no run has to: servers run for weeks.
    for (const work of WORKS) await threads.run({ work, seconds: WARM_UP_SECONDS });
    return threads;
  }

  /** What all threads did together. Processor time is that of the process, which each thread sees whole. */
  async run(order: ThreadOrder): Promise<WorkResult> {
    const results = await Promise.all(this.workers.map((worker) => runOne(worker, order)));
    return {
      verifications: results.reduce((sum, { verifications }) => sum + verifications, 0),
      seconds: Math.max(...results.map(({ seconds }) => seconds)),
      processorSeconds: Math.max(...results.map(({ processorSeconds }) => processorSeconds)),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}

function runOne(worker: Worker, order: ThreadOrder): Promise<WorkResult> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (result: WorkResult) => {
      worker.off('error', reject);
      resolve(result);
    });
    worker.postMessage(order);
  });
}
