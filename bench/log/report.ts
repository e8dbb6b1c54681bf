/** The tables, as people read them, and what the figures are held against. */

import { formatTable } from '../support/table.ts';
import type { Appending } from './appending.ts';
import type { ReadRow } from './reading.ts';

const MOST_OF_HASHING = 3;
const MOST_ADDED_BYTES = 32 * 2 ** 20;
const MOST_START_SECONDS = 1;

export interface Bar {
  readonly what: string;
  readonly passed: boolean;
  readonly found: string;
}

export function describeAppending(rows: readonly Appending[], syncsPerSecond: number): string {
  const columns = ['', 'writers', 'submitters each', 'per second', 'of syncs', 'p50 ms', 'p99 ms'];
  const cells = rows.map((row) => [
    `${row.storage}, ${row.witnessed ? 'witnessed proof' : 'signed proof'}`,
    String(row.writers),
    String(row.submitters),
    row.perSecond.toFixed(0),
    (row.perSecond / syncsPerSecond).toFixed(2),
    row.p50Milliseconds.toFixed(1),
    row.p99Milliseconds.toFixed(1),
  ]);
  const limit = `this disk alone: ${syncsPerSecond.toFixed(0)} pages a second made durable (fdatasync), one after the other`;
  return `${table(columns, cells)}\n${limit}`;
}

const LABELS: Readonly<Record<ReadRow['reading'], string>> = {
  hash: 'SHA-256 of all bytes in one pass',
  'hash-each': 'SHA-256 of each entry',
  'audit-mirror': 'verified, from static files',
  'audit-database': 'verified, from the database',
  start: 'the log is started',
};

export function describeReading(rows: readonly ReadRow[]): string {
  const columns = [
    '',
    'entries',
    'seconds',
    'CPU s',
    'of one pass',
    'by CPU',
    'of each',
    'by CPU',
    'peak MiB',
  ];
  const cells = rows.map((row) => [
    LABELS[row.reading],
    String(row.entries),
    row.seconds.toFixed(2),
    row.processorSeconds.toFixed(2),
    ...(['hash', 'hash-each'] as const).flatMap((base) => {
      const under = find(rows, base, row.entries);
      if (under === undefined || row.reading === 'start') return ['', ''];
      return [row.seconds / under.seconds, row.processorSeconds / under.processorSeconds].map((x) =>
        x.toFixed(2),
      );
    }),
    (row.peakBytes / 2 ** 20).toFixed(0),
  ]);
  return table(columns, cells);
}

function find(rows: readonly ReadRow[], reading: ReadRow['reading'], entries: number): ReadRow | undefined {
  return rows.find((row) => row.reading === reading && row.entries === entries);
}

export function judge(rows: readonly ReadRow[], small: number, large: number): readonly Bar[] {
  const bars: Bar[] = [];
  for (const base of ['hash', 'hash-each'] as const) {
    const [hashing, audit] = [find(rows, base, large), find(rows, 'audit-mirror', large)];
    if (hashing === undefined || audit === undefined) continue;
    const ratio = audit.seconds / hashing.seconds;
    bars.push({
      what: `${large} entries verified within ${MOST_OF_HASHING} × the ${LABELS[base]}`,
      passed: ratio <= MOST_OF_HASHING,
      found: `${ratio.toFixed(2)} (${(audit.processorSeconds / hashing.processorSeconds).toFixed(2)} by processor time)`,
    });
  }
  const [few, many] = [find(rows, 'audit-mirror', small), find(rows, 'audit-mirror', large)];
  if (few !== undefined && many !== undefined) {
    const added = many.peakBytes - few.peakBytes;
    bars.push({
      what: `${large} entries take at most ${MOST_ADDED_BYTES / 2 ** 20} MiB more memory than ${small}`,
      passed: added <= MOST_ADDED_BYTES,
      found: `${(added / 2 ** 20).toFixed(1)} MiB more`,
    });
  }
  const start = find(rows, 'start', large);
  if (start !== undefined) {
    bars.push({
      what: `a log of ${large} entries starts in less than ${MOST_START_SECONDS} s`,
      passed: start.seconds < MOST_START_SECONDS,
      found: `${(start.seconds * 1000).toFixed(0)} ms`,
    });
  }
  return bars;
}

export function describeBars(bars: readonly Bar[]): string {
  return bars
    .map(({ what, passed, found }) => `${passed ? 'pass  ' : 'missed'}  ${what}: ${found}`)
    .join('\n');
}

function table(columns: readonly string[], cells: readonly (readonly string[])[]): string {
  return formatTable(
    columns.map((title, i) => ({ title, align: i === 0 ? 'left' : 'right' })),
    cells,
  );
}
