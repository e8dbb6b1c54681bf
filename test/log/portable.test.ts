import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

import { describe, expect, it } from 'vitest';

const project = join(import.meta.dirname, '..', '..');

/** Every module that a module loads at run time, through the files of this project. */
function loadedBy(path: string, seen = new Map<string, string>()): Map<string, string> {
  const source = readFileSync(path, 'utf8');
  for (const [, specifier = ''] of source.matchAll(/^(?:import|export)(?! type)[^;]*? from '([^']+)';/gm)) {
    if (!specifier.startsWith('.')) seen.set(specifier, relative(project, path));
    else if (!seen.has(specifier)) {
      const file = join(dirname(path), specifier);
      if (seen.has(file)) continue;
      seen.set(file, relative(project, path));
      loadedBy(file, seen);
    }
  }
  return seen;
}

describe('verification without a server', () => {
  for (const name of [
    'tlog-proof.ts',
    'reader.ts',
    'checkpoint.ts',
    'witnessed-checkpoint.ts',
    'witness.ts',
  ]) {
    it(`TL-25: ${name} loads nothing of Node, so that it runs in a browser`, () => {
      const loaded = loadedBy(join(project, 'src', 'log', name));
      expect(loaded.size).toBeGreaterThan(5);
      expect([...loaded].filter(([specifier]) => specifier.startsWith('node:'))).toEqual([]);
    });
  }
});
