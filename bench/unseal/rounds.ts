/** The order of the runs: all rows once, and again, because the memory of a machine is not equally fast at all times. */

import { spreadOf } from '../support/statistics.ts';
import { readThrough, touchMemory } from '../support/warm.ts';
import type { Figures, Measurement, MeasuredRow, MissingRow, Row } from './row.ts';

export interface RoundOptions {
  /** Counted ones; one more before them is not, and compares all output. */
  readonly runs: number;
  readonly bytes: number;
  readonly signal: AbortSignal;
  /** Called before each run. */
  readonly onRun: (round: number, row: Row) => void;
}

/** Measures all rows that can be measured. A row that fails says why and is left out of the rounds that follow. */
export async function measureRows(
  rows: readonly (Row | MissingRow)[],
  options: RoundOptions,
): Promise<readonly MeasuredRow[]> {
  const runs = new Map<string, Measurement[]>();
  const failures = new Map<string, string>();
  for (let round = 0; round <= options.runs; round += 1) {
    for (const row of rows) {
      if ('missing' in row || failures.has(row.name)) continue;
      options.onRun(round, row);
      try {
        const measurement = await measureOnce(row, round === 0, options);
        if (round > 0) runs.set(row.name, [...(runs.get(row.name) ?? []), measurement]);
      } catch (error) {
        options.signal.throwIfAborted();
        failures.set(row.name, `failed: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
  return rows.map((row) => {
    const { name, label, group } = row;
    const missing = 'missing' in row ? row.missing : failures.get(name);
    if (missing !== undefined) return { name, label, group, missing };
    return { name, label, group, figures: figuresOf(runs.get(name) ?? []) };
  });
}

async function measureOnce(row: Row, checks: boolean, { bytes, signal }: RoundOptions): Promise<Measurement> {
  const sources = await row.prepare();
  touchMemory(bytes);
  for (const source of sources) await readThrough(source, signal);
  return row.run(checks);
}

/** @param runs at least one */
export function figuresOf(runs: readonly Measurement[]): Figures {
  const [first] = runs;
  if (first === undefined) throw new RangeError('a row without runs');
  const processRates = runs.flatMap(({ processRate }) => processRate ?? []);
  const worst = runs.reduce((most, run) => ((run.memoryBytes ?? 0) > (most.memoryBytes ?? 0) ? run : most));
  const note = runs.at(-1)?.note;
  return {
    runs,
    rate: spreadOf(runs.map(({ rate }) => rate)),
    pages: first.pages,
    ...(processRates.length === 0 ? {} : { processRate: spreadOf(processRates) }),
    ...(worst.memoryBytes === undefined ? {} : { memoryBytes: worst.memoryBytes }),
    ...(worst.beforeBytes === undefined ? {} : { beforeBytes: worst.beforeBytes }),
    ...(note === undefined ? {} : { note }),
  };
}
