import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { collectFamilies, renderPage } from '../../scripts/refusal-codes.ts';

describe('the closed set of refusal codes', () => {
  it('has each code once, in kebab-case, with a meaning and a hint for people', async () => {
    const rows = (await collectFamilies()).flatMap(({ family }) => Object.entries(family.codes));
    expect(rows.length).toBeGreaterThan(50);
    const codes = rows.map(([code]) => code);
    expect(codes.filter((code, i) => codes.indexOf(code) !== i)).toEqual([]);
    for (const [code, { means, hint }] of rows) {
      expect(code).toMatch(/^[a-z0-9]+(-[a-z0-9]+)+$/);
      expect(means, code).toMatch(/\.$/);
      expect(hint, code).toMatch(/[.:]$/);
    }
  });

  it('is what docs/spec/refusal-codes.md says', async () => {
    expect(readFileSync('docs/spec/refusal-codes.md', 'utf8')).toBe(await renderPage());
  });
});
