/** How fast a long log is verified offline, beside hashing the same bytes, and how much memory that takes. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { runModule } from '../support/program.ts';
import type { MakeTask } from './make-process.ts';
import type { Reading, ReadTask } from './read-process.ts';
import { newLogKey, type Effort } from './work.ts';

const ENTRY_BYTES = 300;

export const READINGS: readonly Reading[] = ['hash', 'hash-each', 'audit-mirror', 'audit-database', 'start'];

export interface ReadRow extends Effort {
  readonly entries: number;
  readonly reading: Reading;
}

/** Makes a log of a size and reads it in every way. Of several runs the fastest counts: nothing makes one too fast. */
export async function measureReading(
  parent: string,
  entries: number,
  readings: readonly Reading[],
  { runs, signal }: { readonly runs: number; readonly signal: AbortSignal },
): Promise<readonly ReadRow[]> {
  const folder = join(parent, `log-of-${entries}`);
  await mkdir(folder);
  const log = { folder, privateKey: newLogKey(), entries };
  const make: MakeTask = { ...log, entryBytes: ENTRY_BYTES };
  await runModule(new URL('./make-process.ts', import.meta.url), make, { signal });
  const fastest = new Map<Reading, Effort>();
  for (let run = 0; run < runs; run += 1) {
    for (const reading of readings) {
      const task: ReadTask = { ...log, reading };
      const { result } = await runModule(new URL('./read-process.ts', import.meta.url), task, { signal });
      const effort = result as Effort;
      const known = fastest.get(reading);
      if (known === undefined || effort.processorSeconds < known.processorSeconds)
        fastest.set(reading, effort);
    }
  }
  return [...fastest].map(([reading, effort]) => ({ entries, reading, ...effort }));
}
