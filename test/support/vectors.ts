/** Public test vectors, kept outside the repository: their manifest says what must come out. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = process.env['WEIGHTGATE_VECTORS'] ?? join(import.meta.dirname, '../../../shared/vectors');

export interface VectorEntry<Expected> {
  readonly id: string;
  readonly kind: string;
  readonly verdict: 'valid' | 'invalid' | 'edge' | 'parse-only';
  readonly files: Readonly<Record<string, { readonly path: string }>>;
  readonly expected: Expected;
}

/** The folder of one set, which may be missing. */
export function vectorFolder(set: string): string {
  return join(root, set);
}

/** Why tests with a set of vectors cannot run here; undefined when they can. */
export function vectorsMissing(set: string): string | undefined {
  return existsSync(join(root, set, 'manifest.json')) ? undefined : `no vectors at ${join(root, set)}`;
}

/** The entries of one kind; none when the vectors are missing. */
export function vectorEntries<Expected>(set: string, kind: string): readonly VectorEntry<Expected>[] {
  if (vectorsMissing(set) !== undefined) return [];
  const manifest = JSON.parse(readFileSync(join(root, set, 'manifest.json'), 'utf8')) as {
    readonly entries: readonly VectorEntry<Expected>[];
  };
  return manifest.entries.filter((entry) => entry.kind === kind);
}

/** A file of an entry. */
export function vectorFile(set: string, entry: VectorEntry<unknown>, name: string): Uint8Array {
  const file = entry.files[name];
  if (file === undefined) throw new Error(`${entry.id} has no file ${name}`);
  return new Uint8Array(readFileSync(join(root, set, file.path)));
}
