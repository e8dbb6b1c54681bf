/** One thread: waits for the word, works for a span of time, tells how far it came. */

import { parentPort, workerData } from 'node:worker_threads';

import type { Subject } from './reports.ts';
import { doWork } from './work.ts';
import type { Work } from './work.ts';

export interface ThreadData {
  readonly subject: Subject;
}

export interface ThreadOrder {
  readonly work: Work;
  readonly seconds: number;
}

const { subject } = workerData as ThreadData;
parentPort?.on('message', ({ work, seconds }: ThreadOrder) => {
  void doWork(work, subject, seconds).then((result) => parentPort?.postMessage(result));
});
