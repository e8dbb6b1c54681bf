/** The table: a row for each kind of fault, with many points at which it strikes. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { spreadOf } from '../../bench/support/statistics.ts';
import { formatTable } from '../../bench/support/table.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Recovery } from './history.ts';
import type { WitnessService } from './witness-service.ts';

/** What every row has to work with. */
export class Workshop {
  /** Exists. */
  readonly folder: string;
  readonly witnesses: WitnessService;
  private readonly made = new Map<string, Promise<unknown>>();

  constructor(folder: string, witnesses: WitnessService) {
    this.folder = folder;
    this.witnesses = witnesses;
  }

  /** Makes what several rows begin with, in a folder of its name. */
  once<T>(name: string, make: (folder: string) => Promise<T>): Promise<T> {
    const known = this.made.get(name) ?? this.makeIn(name, make);
    this.made.set(name, known);
    return known as Promise<T>;
  }

  private async makeIn<T>(name: string, make: (folder: string) => Promise<T>): Promise<T> {
    const folder = join(this.folder, name);
    await mkdir(folder);
    return await make(folder);
  }
}

/** One fault that strikes once. */
export interface Point {
  readonly name: string;
  /** @param folder an empty one of its own @throws Violation, or any other error of a log that did not hold */
  readonly strike: (folder: string) => Promise<Recovery>;
}

export interface Row {
  readonly fault: string;
  /** All that a point may end in: the log comes back with everything that it acknowledged, or it refuses by a code. */
  readonly expected: readonly string[];
  /** All the points that there are, in order. */
  readonly points: (workshop: Workshop) => Promise<readonly Point[]>;
}

export const COMES_BACK = 'comes back';
/** Follows on the code by which an auditor, or the log itself, refused a log that could be opened. */
export const AFTER_OPENING = ', once it was open';

export interface RowResult {
  readonly fault: string;
  readonly points: number;
  /** How often each outcome was seen. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** How long it took to open the logs that came back. */
  readonly recoveryMilliseconds: readonly number[];
  readonly violations: readonly string[];
}

/** @param most of its points that are tried, evenly chosen */
export async function runRow(row: Row, workshop: Workshop, most: number): Promise<RowResult> {
  const place = join(workshop.folder, row.fault.replace(/\W+/g, '-'));
  await mkdir(place);
  const all = await row.points(workshop);
  const outcomes: Record<string, number> = {};
  const recoveryMilliseconds: number[] = [];
  const violations = all.length === 0 ? ['there is no point at which it could strike'] : [];
  const points = evenly(all, most);
  for (const [i, point] of points.entries()) {
    const folder = join(place, `point-${i}`);
    await mkdir(folder);
    const { outcome, milliseconds } = await strike(point, folder);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    if (milliseconds !== undefined) recoveryMilliseconds.push(milliseconds);
    if (!row.expected.includes(outcome)) violations.push(`${point.name}: ${outcome}`);
  }
  return { fault: row.fault, points: points.length, outcomes, recoveryMilliseconds, violations };
}

async function strike(
  point: Point,
  folder: string,
): Promise<{ readonly outcome: string; readonly milliseconds?: number }> {
  try {
    const recovery = await point.strike(folder);
    if ('refused' in recovery) return { outcome: recovery.refused };
    return { outcome: COMES_BACK, milliseconds: recovery.milliseconds };
  } catch (error) {
    // A proof or an audit that refuses is a log that did not hold, as a violation is.
    if (isRefusal(error)) return { outcome: `${error.refusal.code}${AFTER_OPENING}` };
    return { outcome: error instanceof Error ? error.message : String(error) };
  }
}

/** As many of them, from the first on. */
export function evenly<T>(all: readonly T[], most: number): readonly T[] {
  const step = Math.max(1, all.length / most);
  return all.filter((_, i) => Math.floor(i / step) !== Math.floor((i - 1) / step));
}

export function describeResults(results: readonly RowResult[]): string {
  const columns = ['fault', 'points', 'recovery ms', 'at most', 'outcome'];
  const cells = results.map(({ fault, points, outcomes, recoveryMilliseconds: times, violations }) => [
    fault,
    String(points),
    times.length === 0 ? '' : spreadOf(times).median.toFixed(1),
    times.length === 0 ? '' : spreadOf(times).greatest.toFixed(1),
    violations.length === 0
      ? Object.entries(outcomes)
          .map(([outcome, count]) => `${count} ${outcome}`)
          .join(', ')
      : `${violations.length} VIOLATIONS`,
  ]);
  const table = formatTable(
    columns.map((title, i) => ({ title, align: i === 0 || i === 4 ? 'left' : 'right' })),
    cells,
  );
  const violations = results.flatMap((result) => result.violations.map((each) => `${result.fault}: ${each}`));
  return [table, ...violations].join('\n');
}
