/** W10: the vectors of TPMs have the same verdicts in a browser, by the same judge, each and after each mutation. */

import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { tpmVectors } from '../../support/vector-tpm.ts';
import { vectorsMissing } from '../../support/vectors.ts';
import { findChromium, runInChromium } from './chromium.ts';
import { judgeInNode } from './judge-in-node.ts';

const chromium = findChromium();
const missing = chromium === undefined ? 'chromium is not installed' : vectorsMissing('tpm');

describe.skipIf(missing !== undefined)(`the vectors of TPMs in a browser ${missing ?? ''}`, () => {
  it('W10: have the verdicts, codes and members that they have in Node', async () => {
    const { lines, carried } = await judgeInNode(tpmVectors);
    const page = join(import.meta.dirname, 'tpm-vectors-page.ts');
    const answer = JSON.parse(await runInChromium(chromium ?? '', page, JSON.stringify(carried))) as unknown;
    expect(answer).toEqual(lines);
    expect(lines.filter(({ code }) => code === '-').length).toBeGreaterThan(50);
    expect(lines.filter(({ code }) => code !== '-').length).toBeGreaterThan(50);
  }, 240_000);
});
