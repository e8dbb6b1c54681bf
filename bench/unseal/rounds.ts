/** The order of the runs: all rows once, and again, because the memory of a machine is not equally fast at all times. */

import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';

import { availableBytes } from '../../native/memory/available.ts';
import { libc, MADV_POPULATE_WRITE } from '../../native/memory/libc.ts';
import { Mapping } from '../../native/memory/mapping.ts';
import { spreadOf } from '../support/statistics.ts';
import type { Figures, Measurement, MeasuredRow, MissingRow, Row } from './row.ts';

const PIECE_BYTES = 4 * 1024 * 1024;
/** Never the last of the memory: the kernel would begin to end processes. */
const SPARED_BYTES = 1024 ** 3;

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

/**
 * Takes as much memory as the run will write to and gives it back. A virtual machine returns free memory to its host,
 * and the first to touch it waits for the host: that is no property of what is measured.
 */
function touchMemory(bytes: number): void {
  const room = availableBytes(readFileSync('/proc/meminfo', 'latin1')) - SPARED_BYTES;
  const length = Math.min(bytes, room);
  if (length <= 0) return;
  const memory = Mapping.create(length, { locking: 'on-fault' });
  libc().madvise(memory.address, length, MADV_POPULATE_WRITE);
  memory.unmap();
}

/** So that it is in the page cache. */
async function readThrough(path: string, signal: AbortSignal): Promise<void> {
  const file = await open(path, 'r');
  try {
    const piece = new Uint8Array(PIECE_BYTES);
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, null);
      if (bytesRead === 0) return;
    }
  } finally {
    await file.close();
  }
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
