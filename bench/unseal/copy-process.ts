/** Copies a file into fresh memory of the kind that opening uses, and does nothing else: the limit to measure against. */

import { closeSync, openSync, statSync } from 'node:fs';

import { SecretMemory, type MemoryBacking } from '../../native/memory/secret-memory.ts';
import { Jobs } from '../../src/sealed/jobs.ts';
import { moduleArguments, report } from '../support/program.ts';
import { runThreads } from '../support/threads.ts';
import type { CopyData } from './copy-worker.ts';
import { requireSame } from './same.ts';

export interface CopyArguments {
  readonly source: string;
  readonly threads: number;
  /** What is written at once. */
  readonly pieceBytes: number;
  readonly backing: MemoryBacking;
  readonly checks: boolean;
}

export interface CopyReport {
  readonly seconds: number;
  readonly bytes: number;
}

const { source, threads, pieceBytes, backing, checks } = moduleArguments() as CopyArguments;
const bytes = statSync(source).size;
const file = openSync(source, 'r');
const memory = SecretMemory.allocate(bytes, 'copy', backing);
const jobCount = Math.ceil(bytes / pieceBytes);
const data: CopyData = {
  source: file,
  target: memory.writeTarget.fileDescriptor,
  bytes,
  pieceBytes,
  jobCount,
  jobs: new Jobs(jobCount).shared,
};
const { seconds } = await runThreads(new URL('./copy-worker.ts', import.meta.url), threads, data);
if (checks) requireSame(source, (offset, length) => memory.read(offset, length));
report({ seconds, bytes } satisfies CopyReport);
memory.close();
closeSync(file);
