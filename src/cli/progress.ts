/** Progress of long work on a terminal; nothing in a pipe (CL-4). */

import type { Progress } from '../sealed/pool.ts';

const MEGABYTE = 1_000_000;

/** How many lines a second are enough for a person to see that something goes on. */
const REDRAW_MILLISECONDS = 200;

/** @returns what is told of each entry that is done, and what ends the line */
export function entryProgress(
  label: string,
  total: number,
): {
  readonly update: (done: number) => void;
  readonly finish: () => void;
} {
  if (!process.stderr.isTTY) return { update: () => undefined, finish: () => undefined };
  const startedAt = performance.now();
  let drawnAt = startedAt;
  return {
    update: (done) => {
      const now = performance.now();
      if (now - drawnAt < REDRAW_MILLISECONDS) return;
      drawnAt = now;
      const rate = (done * 1000) / (now - startedAt);
      const left = Math.ceil((total - done) / rate);
      process.stderr.write(
        `\r\x1b[K${label}: ${done} of ${total} entries, ${Math.round(rate)}/s, ${left} s left`,
      );
    },
    finish: () => {
      process.stderr.write('\r\x1b[K');
    },
  };
}

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
