/** How fast the OpenSSL inside Node.js decrypts what is in the cache, on so many threads at the same time. */

import { moduleArguments, report } from '../support/program.ts';
import { runThreads } from '../support/threads.ts';
import type { CipherData } from './cipher-worker.ts';

export interface CipherArguments {
  readonly threads: number;
  readonly seconds: number;
}

export interface CipherReport {
  /** Bytes a second, of all threads together. */
  readonly rate: number;
}

const { threads, seconds } = moduleArguments() as CipherArguments;
const file = new URL('./cipher-worker.ts', import.meta.url);
const { results } = await runThreads<number>(file, threads, { seconds } satisfies CipherData);
report({ rate: results.reduce((sum, rate) => sum + rate, 0) } satisfies CipherReport);
