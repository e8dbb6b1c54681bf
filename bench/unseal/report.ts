/** The table, as people read it. */

import { formatTable, type Column } from '../support/table.ts';
import { bestCopy, mebibytes, type Bar } from './bars.ts';
import { GROUPS, type MeasuredRow } from './row.ts';

const COLUMNS: readonly Column[] = [
  { title: '', align: 'left' },
  { title: 'GB/s', align: 'right' },
  { title: 'least..greatest', align: 'right' },
  { title: 'whole process', align: 'right' },
  { title: 'of copy', align: 'right' },
  { title: '× age', align: 'right' },
  { title: 'MiB beside', align: 'right' },
  { title: 'before', align: 'right' },
  { title: 'pages', align: 'left' },
  { title: '', align: 'left' },
];

const LEGEND = `GB/s: 10^9 bytes a second, median of all runs; for programs from start to end, for the rows of this
  project and for node:crypto the call alone, "whole process" with the start and end of the process.
of copy: of the fastest plain copy into memory of the same pages. × age: times the rate of age.
MiB beside: the most that was resident (VmHWM less mapped pages of the result, or anonymous and file pages as seen
  every 10 ms, whichever is more): program, libraries, heap and buffers. Page cache is not counted. before: of that, what it held before it began.`;

export function describeRows(rows: readonly MeasuredRow[]): string {
  const age = rows.find(({ name }) => name === 'age')?.figures?.rate.median;
  const cells = GROUPS.flatMap((group) => {
    const members = rows.filter((row) => row.group === group);
    return members.length === 0 ? [] : [[`${group}:`], ...members.map((row) => rowCells(row, rows, age))];
  });
  return `${formatTable(COLUMNS, cells)}\n\n${LEGEND}`;
}

function rowCells(
  { label, missing, figures }: MeasuredRow,
  rows: readonly MeasuredRow[],
  age: number | undefined,
): readonly string[] {
  if (figures === undefined) return [`  ${label}`, '-', '', '', '', '', '', '', '', missing ?? ''];
  const { rate, processRate, memoryBytes, beforeBytes, pages, note } = figures;
  const copy = bestCopy(rows, pages)?.figures?.rate.median;
  return [
    `  ${label}`,
    gigabytes(rate.median),
    `${gigabytes(rate.least)}..${gigabytes(rate.greatest)}`,
    processRate === undefined ? '' : gigabytes(processRate.median),
    copy === undefined ? '' : (rate.median / copy).toFixed(2),
    age === undefined || pages === 'none' ? '' : (rate.median / age).toFixed(1),
    memoryBytes === undefined ? '' : mebibytes(memoryBytes),
    beforeBytes === undefined ? '' : mebibytes(beforeBytes),
    pages === 'none' ? '' : pages,
    note ?? '',
  ];
}

function gigabytes(rate: number): string {
  return (rate / 1e9).toFixed(2);
}

export function describeBars(bars: readonly Bar[]): string {
  return bars
    .map(({ what, passed, found }) => `${verdictOf(passed).padEnd(12)}  ${what}: ${found}`)
    .join('\n');
}

function verdictOf(passed: boolean | undefined): string {
  if (passed === undefined) return 'not measured';
  return passed ? 'pass' : 'missed';
}
