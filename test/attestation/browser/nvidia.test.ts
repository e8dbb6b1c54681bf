/** W10: the vectors of NVIDIA have the same verdicts in a browser, by the same judge, each and after each mutation. */

import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { nvidiaVectors } from '../../support/vector-nvidia.ts';
import { vectorsMissing } from '../../support/vectors.ts';
import { findChromium, runInChromium } from './chromium.ts';
import { judgeInNode } from './judge-in-node.ts';

const chromium = findChromium();
const missing = chromium === undefined ? 'chromium is not installed' : vectorsMissing('nvidia');

describe.skipIf(missing !== undefined)(`the vectors of NVIDIA in a browser ${missing ?? ''}`, () => {
  it('W10: have the verdicts, codes and members that they have in Node', async () => {
    const { lines, carried } = await judgeInNode(nvidiaVectors);
    const page = join(import.meta.dirname, 'nvidia-page.ts');
    const answer = JSON.parse(await runInChromium(chromium ?? '', page, JSON.stringify(carried))) as unknown;
    expect(answer).toEqual(lines);
    expect(lines.filter(({ code }) => code === '-').length).toBeGreaterThan(100);
    expect(lines.filter(({ code }) => code !== '-').length).toBeGreaterThan(100);
  }, 240_000);
});
