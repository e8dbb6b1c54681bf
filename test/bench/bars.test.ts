import { describe, expect, it } from 'vitest';

import { bestCopy, judge } from '../../bench/unseal/bars.ts';
import { describeBars, describeRows } from '../../bench/unseal/report.ts';
import { figuresOf } from '../../bench/unseal/rounds.ts';
import type { MeasuredRow, Measurement } from '../../bench/unseal/row.ts';

const GIGABYTE = 1e9;
const MEBIBYTE = 2 ** 20;

function row(name: string, rate: number, more: Partial<Measurement> = {}): MeasuredRow {
  const figures = figuresOf([{ rate: rate * GIGABYTE, pages: 'huge', ...more }]);
  return { name, label: name, group: 'weightgate', figures };
}

function rows(changes: Readonly<Record<string, MeasuredRow>> = {}): readonly MeasuredRow[] {
  const all = [
    row('cipher-all', 40, { pages: 'none' }),
    row('copy-1', 14),
    row('copy-all', 10),
    row('copy-file-all', 90, { pages: 'ordinary' }),
    row('unseal-1', 8, { memoryBytes: 60 * MEBIBYTE }),
    row('unseal-all', 13.5, { processRate: 10 * GIGABYTE, memoryBytes: 64 * MEBIBYTE }),
    row('seal', 11),
    row('age', 1.5),
  ];
  return all.map((found) => changes[found.name] ?? found);
}

function verdicts(measured: readonly MeasuredRow[], big?: MeasuredRow): readonly (boolean | undefined)[] {
  return judge(measured, big).map(({ passed }) => passed);
}

describe('the bars', () => {
  it('are passed at their edges', () => {
    expect(verdicts(rows())).toEqual([true, true, true, true]);
    const [limit, age] = judge(rows());
    expect(limit?.found).toBe('0.96 of copy-1');
    expect(age?.found).toBe('9.00 × age; 6.67 with the start and end of the process');
  });

  it('take the best copy into memory of the same pages, whichever it is', () => {
    expect(verdicts(rows({ 'copy-all': row('copy-all', 14.5) }))[0]).toBe(false);
    expect(bestCopy(rows(), 'ordinary')?.name).toBe('copy-file-all');
    const intoFile = row('unseal-all', 13.5, { pages: 'ordinary' });
    expect(verdicts(rows({ 'unseal-all': intoFile }))[0]).toBe(false);
  });

  it('take the cipher where it is slower than any copy', () => {
    const [limit] = judge(rows({ 'cipher-all': row('cipher-all', 13.8, { pages: 'none' }) }));
    expect(limit).toMatchObject({ passed: true, found: '0.98 of cipher-all' });
  });

  it('are missed just beyond', () => {
    expect(verdicts(rows({ age: row('age', 1.51) }))[1]).toBe(false);
    expect(verdicts(rows({ seal: row('seal', 10.7) }))[3]).toBe(false);
    const heavy = row('unseal-1', 8, { memoryBytes: 64 * MEBIBYTE + 4096 });
    expect(verdicts(rows({ 'unseal-1': heavy }))[2]).toBe(false);
  });

  it('hold for the memory at the larger size too', () => {
    const big = row('unseal-big', 1, { memoryBytes: 130 * MEBIBYTE, beforeBytes: 50 * MEBIBYTE });
    expect(verdicts(rows(), big)).toEqual([true, true, false, true]);
    expect(judge(rows(), big)[2]?.found).toBe('80.0 MiB (unseal-big), 130.0 with Node.js and the program');
  });

  it('are not measured where a row is missing, rather than passed', () => {
    const missing: MeasuredRow = { name: 'age', label: 'age', group: 'others', missing: 'not installed' };
    const bars = judge(rows({ age: missing }));
    expect(bars.map(({ passed }) => passed)).toEqual([true, undefined, true, true]);
    expect(describeBars(bars)).toMatch(/^not measured {2}unseal, all cores: at least 9 × age/m);
    expect(verdicts([])).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe('the table', () => {
  it('relates each row to the copy into its pages and to age', () => {
    const lines = describeRows(rows()).split('\n');
    const cells = (name: string) => lines.find((line) => line.startsWith(`  ${name} `))?.split(/\s{2,}/);
    expect(cells('unseal-all')).toEqual([
      '',
      'unseal-all',
      '13.50',
      '13.50..13.50',
      '10.00',
      '0.96',
      '9.0',
      '64.0',
      'huge',
    ]);
    expect(cells('cipher-all')).toEqual(['', 'cipher-all', '40.00', '40.00..40.00']);
  });

  it('says why a row has no figure', () => {
    const missing: MeasuredRow = {
      name: 'age',
      label: 'age -d',
      group: 'others',
      missing: 'not installed: get it',
    };
    expect(describeRows([missing])).toMatch(/^ {2}age -d +- .*not installed: get it$/m);
  });
});
