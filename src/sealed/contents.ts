/** Which strict reader a file of a model goes through (docs/spec/sealed-weights.md SW-24). */

import { readGguf } from './gguf.ts';
import { readSafetensors } from './safetensors.ts';
import type { ReadRange, TensorEntry } from './tensors.ts';

/**
 * Reads the list of tensors of a file whose name says that it holds some.
 *
 * @returns undefined for any other file
 * @throws RefusalError `weights-*`, `shape-mismatch`, `utf8-malformed`
 */
export async function readTensorEntries(
  path: string,
  bytes: number,
  read: ReadRange,
): Promise<readonly TensorEntry[] | undefined> {
  const name = path.toLowerCase();
  if (name.endsWith('.safetensors')) return await readSafetensors(path, bytes, read);
  if (name.endsWith('.gguf')) return await readGguf(path, bytes, read);
  return undefined;
}

/**
 * Checks the file when its name says that it holds tensors; anything else passes as it is.
 *
 * @throws as `readTensorEntries`
 */
export async function checkContents(path: string, bytes: number, read: ReadRange): Promise<void> {
  await readTensorEntries(path, bytes, read);
}
