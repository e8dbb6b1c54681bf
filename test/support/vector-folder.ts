/** A folder of test vectors: its manifest, and files that are what the manifest says they are. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';

export interface VectorFolder {
  /** The parsed manifest.json; each class of vectors knows its own form. */
  readonly manifest: unknown;
  /**
   * A file by its path in the manifest.
   *
   * @param sha256 the digest that the manifest states, lower-case hex; the file must have it
   * @throws Error when the path leads out of the folder or the digest differs
   */
  file(path: string, sha256?: string): Uint8Array;
}

/** @throws Error when there is no manifest */
export function openVectorFolder(folder: string): VectorFolder {
  const root = resolve(folder);
  return {
    manifest: JSON.parse(readFileSync(join(root, 'manifest.json'), 'utf8')) as unknown,
    file: (path, sha256) => {
      const place = resolve(root, path);
      if (relative(root, place).startsWith('..')) throw new Error(`${path} leads out of ${root}`);
      const bytes = new Uint8Array(readFileSync(place));
      const found = createHash('sha256').update(bytes).digest('hex');
      if (sha256 !== undefined && found !== sha256)
        throw new Error(`${path} has SHA-256 ${found}, not ${sha256}`);
      return bytes;
    },
  };
}
