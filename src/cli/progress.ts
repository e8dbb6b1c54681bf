/** Progress of long work on a terminal; nothing in a pipe (CL-4). */

import type { Progress } from '../sealed/pool.ts';

const MEGABYTE = 1_000_000;

/** @returns a callback for progress that rewrites one line of standard error, and one that ends the line */
export function progressLine(label: string): {
  readonly update: (progress: Progress) => void;
  readonly finish: () => void;
} {
  if (!process.stderr.isTTY) return { update: () => undefined, finish: () => undefined };
  const startedAt = performance.now();
  return {
    update: ({ doneBytes, totalBytes }) => {
      const seconds = Math.max((performance.now() - startedAt) / 1000, 0.001);
      const rate = doneBytes / seconds;
      const left = rate > 0 ? Math.ceil((totalBytes - doneBytes) / rate) : 0;
      const amount = `${Math.floor(doneBytes / MEGABYTE)} of ${Math.ceil(totalBytes / MEGABYTE)} MB`;
      process.stderr.write(
        `\r\x1b[K${label}: ${amount}, ${Math.round(rate / MEGABYTE)} MB/s, ${left} s left`,
      );
    },
    finish: () => {
      process.stderr.write('\r\x1b[K');
    },
  };
}
