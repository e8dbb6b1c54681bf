import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';

import { hasText } from '../../bench/first-token/answer.ts';
import { MemoryWatch, parseStatus, readMemory } from '../../bench/support/memory.ts';
import { parseSize } from '../../bench/support/size.ts';
import { spreadOf } from '../../bench/support/statistics.ts';
import { formatTable } from '../../bench/support/table.ts';
import { parseOpensslSpeed } from '../../bench/unseal/limits.ts';

describe('figures of repeated runs', () => {
  it('have the middle one as their median, or the mean of the two in the middle', () => {
    expect(spreadOf([3, 1, 2])).toEqual({ median: 2, least: 1, greatest: 3 });
    expect(spreadOf([4, 1, 2, 10])).toEqual({ median: 3, least: 1, greatest: 10 });
    expect(() => spreadOf([])).toThrow(RangeError);
  });

  it('stand in aligned columns', () => {
    const columns = [
      { title: '', align: 'left' },
      { title: 'GB/s', align: 'right' },
      { title: 'note', align: 'left' },
    ] as const;
    const table = formatTable(columns, [['group:'], ['  row', '12.34', 'x'], ['  long row', '1.00']]);
    expect(table.split('\n')).toEqual([
      '             GB/s  note',
      'group:',
      '  row       12.34  x',
      '  long row   1.00',
    ]);
  });
});

describe('sizes', () => {
  it('are powers of 1024', () => {
    expect(['7', '3k', '256m', '2g'].map(parseSize)).toEqual([7, 3072, 268_435_456, 2_147_483_648]);
  });

  it.each(['', '0', '-1', '2G', '1.5g', '2gb', ' 2g'])('are not %j', (text) => {
    expect(() => parseSize(text)).toThrow(InvalidArgumentError);
  });
});

describe('the memory of a process', () => {
  it('is read from the lines of its status', () => {
    const status = [
      ...['Name:\tnode', 'VmHWM:\t  500 kB', 'RssAnon:\t 10 kB', 'RssFile:\t 20 kB'],
      ...['RssShmem:\t 400 kB', 'VmPTE:\t 4 kB', ''],
    ].join('\n');
    const [peak, anonymous, file, shared, pageTables] = [500, 10, 20, 400, 4].map((count) => count * 1024);
    expect(parseStatus(status)).toEqual({ peak, anonymous, file, shared, pageTables });
  });

  it('is unknown once the process has ended', () => {
    expect(parseStatus('Name:\tnode\nState:\tZ (zombie)\n')).toBeUndefined();
    expect(readMemory(0)).toBeUndefined();
  });

  it('is watched from outside', () => {
    using watch = new MemoryWatch(process.pid);
    expect(watch.unshared).toBeGreaterThan(10 * 2 ** 20);
  });
});

describe('what others print', () => {
  it('has the rate of all processes of openssl speed, not of the first', () => {
    const output = 'Got: +F:25:AES-256-GCM:100.50 from 0\nGot: +F:25:AES-256-GCM:100.00 from 1\n';
    expect(parseOpensslSpeed(`${output}+F:25:AES-256-GCM:200.50\n`)).toBe(200.5);
    expect(() => parseOpensslSpeed(output)).toThrow('nothing that is known');
  });

  it('has text where a piece of an answer has it', () => {
    const piece = (delta: object): string => `data: ${JSON.stringify({ choices: [{ delta }] })}`;
    expect(hasText(piece({ content: 'a' }))).toBe(true);
    const others = [
      piece({ role: 'assistant', content: '' }),
      piece({}),
      'data: {"choices":[]}',
      '',
      ': ping',
    ];
    expect(others.map(hasText)).toEqual(others.map(() => false));
  });
});
