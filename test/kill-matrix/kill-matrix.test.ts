/** Some points of each row; `npm run kill-matrix` tries all of them. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { missingPrograms } from '../support/programs.ts';
import { demand, History } from './history.ts';
import { runRow, Workshop, type Row } from './matrix.ts';
import { ROWS } from './rows.ts';
import { readCalls } from './strace.ts';
import { WitnessService } from './witness-service.ts';

const missing = missingPrograms(['strace']);
const mayTrace = missing.length === 0 && spawnSync('strace', ['-o', '/dev/null', 'true']).status === 0;
const reason = missing.length > 0 ? 'not installed: strace' : 'strace may not trace here';

/** A write-ahead log of a thousand pages takes long to fill. */
const rows = ROWS.filter(({ fault }) => !fault.includes('write-ahead log is moved'));
/** Each of their points starts a process. */
const isSlow = ({ fault }: Row): boolean => /^kill|EIO|ENOSPC/.test(fault);

describe.skipIf(!mayTrace)(`a disturbed log${mayTrace ? '' : ` (skipped: ${reason})`}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'weightgate-kill-matrix-'));
  let witnesses: WitnessService;
  let workshop: Workshop;
  beforeAll(async () => {
    witnesses = await WitnessService.start();
    workshop = new Workshop(folder, witnesses);
  });
  afterAll(async () => {
    await witnesses[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it.each(rows.map((row) => [row.fault, row] as const))(
    'TL-60 to TL-62: %s',
    async (_, row) => {
      const { violations, points } = await runRow(row, workshop, isSlow(row) ? 2 : 3);
      expect(violations).toEqual([]);
      expect(points).toBeGreaterThan(0);
    },
    120_000,
  );
});

describe('what the matrix demands', () => {
  const signed = (root: string) => ({
    kind: 'signed' as const,
    text: `log.example/evaluation\n1\n${root}\n`,
  });
  const appended = (name: string, index: string) => ({ kind: 'appended' as const, name, index, proof: '' });

  it.each([
    ['two roots for one size', [signed(`${'A'.repeat(43)}=`), signed(`${'B'.repeat(42)}E=`)]],
    ['one index for two entries', [appended('a', '0'), appended('b', '0')]],
    ['an entry that moved', [appended('a', '0'), appended('a', '1')]],
    [
      'an answer after a failure',
      [{ kind: 'refused' as const, name: 'a', code: 'log-storage-failed' }, appended('b', '0')],
    ],
  ])('TL-61: %s is a violation', (_, events) => {
    expect(() => {
      new History().take(events);
    }).toThrow();
  });

  it('TL-60: a row that ends otherwise than expected, or has no points, is a violation', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'weightgate-kill-matrix-'));
    const workshop = new Workshop(folder, undefined as never);
    const lost = {
      name: 'lost',
      strike: () => {
        demand(false, 'an entry is lost');
        return Promise.resolve({ milliseconds: 1 });
      },
    };
    const refused = { name: 'refused', strike: () => Promise.resolve({ refused: 'log-damaged' }) };
    const row = (fault: string, points: readonly (typeof lost | typeof refused)[]): Row => ({
      fault,
      expected: ['comes back'],
      points: () => Promise.resolve(points),
    });
    expect((await runRow(row('one', [lost, refused]), workshop, 9)).violations).toEqual([
      'lost: an entry is lost',
      'refused: log-damaged',
    ]);
    expect((await runRow(row('none', []), workshop, 9)).violations).toHaveLength(1);
    rmSync(folder, { recursive: true });
  });

  it('TL-60: calls are counted for each thread, and those elsewhere are none of the log', () => {
    const text = [
      '7 write(20<anon_inode:[eventfd]>, "x", 8) = 8',
      '7 write(26</l/.c860d66a-4369-4800-8a72-89ebfbc33fc9.partial>, "x", 1) = 1',
      '8 write(26</l/other>, "x", 1 <unfinished ...>',
      '8 <... write resumed>) = 1',
      '7 rename("/l/a", "/l/b") = 0',
    ];
    expect(readCalls(text.join('\n'), '/l')).toEqual([
      { name: 'write', count: 2, file: 'checkpoint, new' },
      { name: 'write', count: 1, file: 'other' },
      { name: 'rename', count: 1, file: 'a' },
    ]);
  });
});
