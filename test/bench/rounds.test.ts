import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { requireSameFiles } from '../../bench/unseal/same.ts';
import { measureRows, type RoundOptions } from '../../bench/unseal/rounds.ts';
import type { Measurement, MissingRow, Row } from '../../bench/unseal/row.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const OPTIONS: RoundOptions = {
  ...{ runs: 2, bytes: 4096, signal: new AbortController().signal },
  onRun: () => undefined,
};

function row(name: string, measure: (checks: boolean) => Measurement): Row {
  const run = (checks: boolean): Promise<Measurement> =>
    new Promise((resolve) => {
      resolve(measure(checks));
    });
  return { name, label: name, group: 'others', prepare: () => Promise.resolve([]), run };
}

describe('rounds', () => {
  it('run all rows in turn, the first time to compare and without counting', async () => {
    const seen: string[] = [];
    const measured = (name: string): Row =>
      row(name, (checks) => {
        seen.push(`${name}${checks ? ' checks' : ''}`);
        return { rate: checks ? 1000 : seen.length, memoryBytes: seen.length, pages: 'none' };
      });
    const [first] = await measureRows([measured('a'), measured('b')], OPTIONS);
    expect(seen).toEqual(['a checks', 'b checks', 'a', 'b', 'a', 'b']);
    expect(first?.figures?.rate).toEqual({ median: 4, least: 3, greatest: 5 });
    expect(first?.figures?.memoryBytes).toBe(5);
  });

  it('go on without a row that fails or is missing', async () => {
    const broken = row('broken', () => {
      throw new Error('no such thing');
    });
    const missing: MissingRow = { name: 'missing', label: 'missing', group: 'others', missing: 'get it' };
    const good = row('good', () => ({ rate: 1, pages: 'none' }));
    const found = await measureRows([broken, missing, good], OPTIONS);
    expect(found.map(({ missing: why }) => why)).toEqual(['failed: no such thing', 'get it', undefined]);
    expect(found[2]?.figures?.runs).toHaveLength(2);
  });

  it('end when they are interrupted', async () => {
    const controller = new AbortController();
    const interrupted = row('interrupted', () => {
      controller.abort(new Error('interrupted'));
      throw new Error('killed');
    });
    const options = { ...OPTIONS, signal: controller.signal };
    await expect(measureRows([interrupted], options)).rejects.toThrow('interrupted');
  });
});

describe('outputs', () => {
  it('are the same only with the same bytes and length', async () => {
    const folder = await temporaryFolder();
    const [wanted, same, other, shorter] = ['wanted', 'same', 'other', 'shorter'].map((name) =>
      join(folder, name),
    ) as [string, string, string, string];
    const bytes = new Uint8Array(5 * 1024 * 1024).fill(7);
    for (const path of [wanted, same]) await writeFile(path, bytes);
    await writeFile(shorter, bytes.subarray(1));
    bytes[bytes.length - 1] = 8;
    await writeFile(other, bytes);
    expect(() => {
      requireSameFiles(wanted, same);
    }).not.toThrow();
    expect(() => {
      requireSameFiles(wanted, other);
    }).toThrow('differs');
    expect(() => {
      requireSameFiles(wanted, shorter);
    }).toThrow('expected 5242880');
  });
});
