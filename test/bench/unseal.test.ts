/** The benchmark as it is started, at a size that says nothing: what it measures is true to what it says. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { runProgram } from '../../bench/support/program.ts';
import type { Bar } from '../../bench/unseal/bars.ts';
import type { MeasuredRow } from '../../bench/unseal/row.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const MAIN = 'bench/unseal/main.ts';
/** Two chunks and a bit. */
const SIZE = '9000k';

interface Found {
  readonly bytes: number;
  readonly rows: readonly MeasuredRow[];
  readonly big: MeasuredRow;
  readonly bars: readonly Bar[];
}

async function measure(
  folder: string,
  ...args: readonly string[]
): Promise<{ output: string; found: Found }> {
  const json = join(folder, 'found.json');
  const size = ['--bytes', SIZE, '--runs', '1', '--folder', folder, '--json', json];
  const { signal } = new AbortController();
  const { output } = await runProgram(process.execPath, ['--no-warnings', MAIN, ...size, ...args], {
    signal,
  });
  return { output, found: JSON.parse(await readFile(json, 'utf8')) as Found };
}

describe('bench:unseal', () => {
  it('measures opening, sealing and copying, and leaves nothing behind', { timeout: 120_000 }, async () => {
    const folder = await temporaryFolder();
    const rows = 'unseal-all,unseal-portable,seal-one,copy-file-1-4096k,node-crypto';
    const { output, found } = await measure(folder, '--only', rows, '--big', '5m');
    expect(found.bytes).toBe(9000 * 1024);
    expect(found.rows.map(({ name }) => name).toSorted()).toEqual(rows.split(',').toSorted());
    for (const { name, missing, figures } of [...found.rows, found.big]) {
      expect(missing, name).toBeUndefined();
      expect(figures?.rate.median, name).toBeGreaterThan(0);
      expect(figures?.runs, name).toHaveLength(1);
    }
    const [age] = found.bars.filter(({ what }) => what.includes('age'));
    expect(age?.passed).toBeUndefined();
    expect(output).toMatch(/^ {2}unseal, all cores.*\d\.\d\d\.\.\d/m);
    expect(await readdir(folder)).toEqual(['found.json']);
  });
});
