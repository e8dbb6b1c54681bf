/** From a sealed bundle and its key to weights that an engine can map: only the model file, only in memory. */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { KeyMemory } from '../../native/memory/key-memory.ts';
import type { SecretMemory } from '../../native/memory/secret-memory.ts';
import type { PoolOptions } from '../sealed/pool.ts';
import type { SealedBundle } from '../sealed/reader.ts';
import { unseal } from '../sealed/unseal.ts';

export const modelFileRefusals = defineRefusals('usage', {
  'model-file-ambiguous': {
    means: 'A bundle does not hold exactly one model file that the engine can load.',
    hint: 'Name the file with --model-file; models split into several GGUF files have to be merged before sealing.',
  },
});

const MODEL_FILE_SUFFIX = '.gguf';

/**
 * Which file of a bundle the engine loads.
 *
 * @param wanted by the operator; otherwise the only GGUF file of the bundle
 * @throws RefusalError `model-file-ambiguous`, `sealed-file-unknown`
 */
export function chooseModelFile(bundle: SealedBundle, wanted: string | undefined): string {
  if (wanted !== undefined) return bundle.file(wanted).path;
  const candidates = [...bundle.files.keys()].filter((path) => path.endsWith(MODEL_FILE_SUFFIX));
  const [only] = candidates;
  if (only !== undefined && candidates.length === 1) return only;
  throw modelFileRefusals.error('model-file-ambiguous', {
    field: 'bundle',
    expected: 'one GGUF file',
    found: candidates.length === 0 ? 'none' : candidates.map(excerpt).join(', '),
  });
}

export interface Weights {
  readonly memory: SecretMemory;
  /** Overwrites and gives back the memory. */
  close(): void;
}

/**
 * Opens one file of a bundle into memory (W5). The key stays the caller's.
 *
 * @throws RefusalError `sealed-*`, `weights-*`, `memory-*`; nothing of the plaintext is left after any of them
 */
export async function openWeights(
  bundle: SealedBundle,
  path: string,
  modelKey: KeyMemory,
  options: Pick<PoolOptions, 'signal' | 'onProgress'>,
): Promise<Weights> {
  const unsealed = await unseal(bundle, modelKey, { ...options, paths: [path] });
  const memory = unsealed.files.get(path);
  if (memory === undefined) throw new Error(`${path} was asked for and not opened`);
  return {
    memory,
    close: () => {
      unsealed.close();
    },
  };
}
