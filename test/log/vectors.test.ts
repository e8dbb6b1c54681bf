import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { judgeFor, type VectorCase } from './vectors.ts';

/** The folder with `tlog/manifest.json`; the vectors are shared between projects and not part of this one. */
const folder = join(process.env['WEIGHTGATE_VECTORS'] ?? '/nowhere', 'tlog');
const present = existsSync(join(folder, 'manifest.json'));

interface Manifest {
  readonly files: readonly { readonly file: string; readonly cases: number }[];
}

function read(name: string): unknown {
  return JSON.parse(readFileSync(join(folder, name), 'utf8'));
}

describe.skipIf(!present)('TL-1 to TL-15: the transparency vectors (set WEIGHTGATE_VECTORS)', () => {
  const { files } = present ? (read('manifest.json') as Manifest) : { files: [] };
  for (const { file, cases } of files) {
    const judge = judgeFor(file);
    if (judge === undefined) {
      it.skip(`${file}: not judged by the log`, () => undefined);
      continue;
    }
    it(`${file}: all ${cases} cases`, async () => {
      const vectors = (read(file) as { cases: readonly VectorCase[] }).cases;
      expect(vectors).toHaveLength(cases);
      const wrong: string[] = [];
      for (const vector of vectors) {
        const { verdict, detail } = await judge(vector);
        if (verdict === 'unsupported') continue;
        if (verdict !== vector.expect) wrong.push(`${vector.id}: ${detail}, not ${vector.expect}`);
      }
      expect(wrong).toEqual([]);
    });
  }
});
