import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { csvRecord } from '../../src/audit/csv.ts';

/** One record as RFC 4180 reads it. */
function parse(record: string): readonly string[] {
  return [...record.matchAll(/(?:^|,)"((?:[^"]|"")*)"/g)].map(([, cell = '']) => cell.replaceAll('""', '"'));
}

describe('a record of a table', () => {
  it('AU-22: is one line of quoted cells', () => {
    expect(csvRecord(['a', 'b "c", d', ''])).toBe('"a","b ""c"", d",""');
    expect(csvRecord(['a\r\n"b"\u2028\u202e\u0000'])).toBe('"a??""b""???"');
  });

  it.each([
    '=1+1',
    '+1',
    '-1',
    '@SUM(A1)',
    '\t=1',
    ' =1',
    '\uff1dcmd',
    '\uff0b1',
    '\uff0d1',
    '\uff20A1',
    '=\n1',
  ])('AU-22: %j is no formula', (text) => {
    expect(csvRecord([text])).toMatch(/^"(?:'|\?)/);
  });

  it('AU-22: any text stays one cell that nothing runs', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'binary', maxLength: 12 }), { minLength: 1, maxLength: 6 }),
        (cells) => {
          const record = csvRecord(cells);
          expect(record).not.toMatch(/[\r\n]/);
          const read = parse(record);
          expect(read).toHaveLength(cells.length);
          expect(read.every((cell) => !/^\s*[=+\-@]/.test(cell))).toBe(true);
        },
      ),
    );
  });
});
