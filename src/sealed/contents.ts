/** Which strict reader a file of a model goes through (docs/spec/sealed-weights.md SW-24). */

import { readGguf } from './gguf.ts';
import { readSafetensors } from './safetensors.ts';
import type { ReadRange } from './tensors.ts';

/**
 * Checks the file when its name says that it holds tensors; anything else passes as it is.
 *
 * @throws RefusalError `weights-*`
 */
export async function checkContents(path: string, bytes: number, read: ReadRange): Promise<void> {
  const name = path.toLowerCase();
  if (name.endsWith('.safetensors')) await readSafetensors(path, bytes, read);
  if (name.endsWith('.gguf')) await readGguf(path, bytes, read);
}
