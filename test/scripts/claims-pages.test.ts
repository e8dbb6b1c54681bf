import { existsSync, globSync, readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { renderClaimsPages } from '../../scripts/claims-pages.ts';
import { DEVICE_CLASSES } from '../../src/server/device-classes.ts';

const pages = renderClaimsPages();

describe('the pages of claims', () => {
  it.each(pages)('$path is what the code says', ({ path, text }) => {
    expect(existsSync(path), 'run node scripts/claims-pages.ts').toBe(true);
    expect(readFileSync(path, 'utf8'), 'run node scripts/claims-pages.ts').toBe(text);
  });

  it('are those of the classes that there are, and no others', () => {
    const paths = pages.map(({ path }) => path);
    expect(globSync('docs/claims/*.md').sort()).toEqual(paths.toSorted());
    expect(paths).toEqual(expect.arrayContaining(['docs/claims/example.md']));
    for (const name of DEVICE_CLASSES.keys()) expect(paths).toContain(`docs/claims/${name}.md`);
  });

  it.each(pages)('$path says what each claim means', ({ text }) => {
    expect(text.split('\n').filter((line) => /\|\s+\|$/.test(line))).toEqual([]);
  });

  it('tell every claim that all classes have, and nested ones by their path', () => {
    for (const { text } of pages) {
      for (const claim of ['class', 'identity', 'simulated']) expect(text).toContain(`| \`${claim}\` |`);
    }
    const guest = pages.find(({ path }) => path === 'docs/claims/sev-snp.md');
    expect(guest?.text).toContain('| `tcb.reported.microcode` | `number` |');
    expect(guest?.text).toMatch(/^\| `simulated` \| `boolean` \| Whether the hardware is simulated: /m);
    expect(guest?.text).toMatch(
      /^\| `cspId` \| `string` or null \| Provider; null where a chip's key signed\. \|$/m,
    );
  });
});
