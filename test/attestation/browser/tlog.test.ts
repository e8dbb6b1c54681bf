/** W10: the vectors of the transparency log have the same verdicts in a browser, by the same judge; Ed25519's corners too (TL-8). */

import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { tlogVectors } from '../../support/vector-tlog.ts';
import { vectorsMissing } from '../../support/vectors.ts';
import { findChromium, runInChromium } from './chromium.ts';
import { judgeInNode } from './judge-in-node.ts';

const chromium = findChromium();
const missing = chromium === undefined ? 'chromium is not installed' : vectorsMissing('tlog');

describe.skipIf(missing !== undefined)(`the vectors of the log in a browser ${missing ?? ''}`, () => {
  it('W10, TL-8: have the verdicts and codes that they have in Node', async () => {
    const { lines, carried } = await judgeInNode(tlogVectors);
    const page = join(import.meta.dirname, 'tlog-page.ts');
    const answer = JSON.parse(await runInChromium(chromium ?? '', page, JSON.stringify(carried))) as unknown;
    expect(answer).toEqual(lines);
    expect(lines.filter(({ got }) => got === 'accept').length).toBeGreaterThan(250);
    expect(lines.filter(({ got }) => got === 'reject').length).toBeGreaterThan(600);
  }, 240_000);
});
