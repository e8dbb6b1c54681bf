/** W10: the vectors of NVIDIA have the same verdicts in a browser, by the same judge, each and after each mutation. */

import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { toBase64 } from '../../../attestation/core/bytes.ts';
import { openVectorFolder } from '../../support/vector-folder.ts';
import type { VectorFolder } from '../../support/vector-folder.ts';
import { nvidiaVectors } from '../../support/vector-nvidia.ts';
import type { VectorLine } from '../../support/vector-runner.ts';
import { vectorFolder, vectorsMissing } from '../../support/vectors.ts';
import { findChromium, runInChromium } from './chromium.ts';
import type { CarriedFolder } from './nvidia-page.ts';

const chromium = findChromium();
const missing = chromium === undefined ? 'chromium is not installed' : vectorsMissing('nvidia');

/** The lines in Node, and every file that judging them asked for. */
async function judgeInNode(): Promise<{
  readonly lines: readonly VectorLine[];
  readonly carried: CarriedFolder;
}> {
  const folder = openVectorFolder(vectorFolder('nvidia'));
  const files: Record<string, string> = {};
  const listening: VectorFolder = {
    ...folder,
    file: (path, digest) => {
      const bytes = folder.file(path, digest);
      files[path] = toBase64(bytes);
      return bytes;
    },
  };
  const lines: VectorLine[] = [];
  for await (const line of nvidiaVectors.judge(listening)) lines.push(line);
  return { lines, carried: { manifest: folder.manifest, files } };
}

describe.skipIf(missing !== undefined)(`the vectors of NVIDIA in a browser ${missing ?? ''}`, () => {
  it('W10: have the verdicts, codes and members that they have in Node', async () => {
    const { lines, carried } = await judgeInNode();
    const page = join(import.meta.dirname, 'nvidia-page.ts');
    const answer = JSON.parse(await runInChromium(chromium ?? '', page, JSON.stringify(carried))) as unknown;
    expect(answer).toEqual(lines);
    expect(lines.filter(({ code }) => code === '-').length).toBeGreaterThan(100);
    expect(lines.filter(({ code }) => code !== '-').length).toBeGreaterThan(100);
  }, 240_000);
});
