/**
 * The tensors of a sealed model, over all of its safetensors and GGUF files. Building the index opens the headers and
 * nothing else; a tensor is opened alone.
 */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { SecretMemory } from '../../native/memory/secret-memory.ts';
import { readTensorEntries } from './contents.ts';
import type { SealedFile } from './manifest.ts';
import type { UnlockedBundle } from './reader.ts';
import { interrupted } from './refusals.ts';
import { checkShardIndex, isShardIndex, MAX_INDEX_BYTES } from './safetensors-index.ts';
import { openRange } from './tensor-memory.ts';
import { refuseWeights, type TensorEntry } from './tensors.ts';

export const tensorUsage = defineRefusals('usage', {
  'tensor-unknown': {
    means: 'The bundle has no tensor of this name.',
    hint: 'List the tensors with `weightgate bundle tensors`; mind upper and lower case.',
  },
  'tensor-ambiguous': {
    means: 'Several files hold a tensor of this name.',
    hint: 'Name the file too.',
  },
});

/** A tensor with the file that holds it. */
export interface IndexedTensor extends TensorEntry {
  /** In the bundle. */
  readonly path: string;
}

export interface TensorOptions {
  /** The file, where several hold a tensor of one name (SW-53). */
  readonly path?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class TensorIndex {
  /** Files in manifest order, the tensors of each in the order of its header. */
  readonly tensors: readonly IndexedTensor[];
  readonly #unlocked: UnlockedBundle;
  readonly #byName = new Map<string, IndexedTensor[]>();

  private constructor(unlocked: UnlockedBundle, tensors: readonly IndexedTensor[]) {
    this.#unlocked = unlocked;
    this.tensors = tensors;
    for (const tensor of tensors) {
      const named = this.#byName.get(tensor.name);
      if (named === undefined) this.#byName.set(tensor.name, [tensor]);
      else named.push(tensor);
    }
  }

  /**
   * Opens the headers of all weight files and holds them against the indexes of shards.
   *
   * @param unlocked stays the caller's, and open as long as tensors are read
   * @throws RefusalError `weights-*`, `shape-mismatch`, `utf8-malformed`, `sealed-chunk-tag`, `sealed-file-*`,
   *   `sealed-interrupted`, `source-*`
   */
  static async open(unlocked: UnlockedBundle, signal?: AbortSignal): Promise<TensorIndex> {
    const { files } = unlocked.bundle.manifest;
    const entries = new Map<string, readonly TensorEntry[]>();
    for (const { path, bytes } of files) {
      if (signal?.aborted === true) throw interrupted();
      const read = (offset: number, length: number): Promise<Uint8Array> =>
        unlocked.readAt(path, offset, length);
      const found = await readTensorEntries(path, bytes, read);
      if (found !== undefined) entries.set(path, found);
    }
    for (const file of files) {
      if (isShardIndex(file.path)) checkShardIndex(file.path, await readIndexFile(unlocked, file), entries);
    }
    const tensors = [...entries].flatMap(([path, list]) => list.map((entry) => ({ ...entry, path })));
    return new TensorIndex(unlocked, tensors);
  }

  /** @throws RefusalError `tensor-unknown`, `tensor-ambiguous` */
  find(name: string, path?: string): IndexedTensor {
    const named = (this.#byName.get(name) ?? []).filter(
      (tensor) => path === undefined || tensor.path === path,
    );
    const [tensor] = named;
    if (tensor !== undefined && named.length === 1) return tensor;
    throw tensorUsage.error(named.length === 0 ? 'tensor-unknown' : 'tensor-ambiguous', {
      field: excerpt(name),
      expected: path === undefined ? 'a tensor of the bundle' : `a tensor of ${excerpt(path)}`,
      found: named.length === 0 ? 'none' : named.map((other) => excerpt(other.path)).join(', '),
    });
  }

  /**
   * Opens one tensor (SW-54).
   *
   * @returns memory that the caller closes
   * @throws RefusalError `tensor-*`, and those of `openRange`
   */
  async readTensor(name: string, { path, signal }: TensorOptions = {}): Promise<SecretMemory> {
    return await openRange(this.#unlocked, this.find(name, path), signal);
  }
}

async function readIndexFile(unlocked: UnlockedBundle, { path, bytes }: SealedFile): Promise<Uint8Array> {
  if (bytes <= MAX_INDEX_BYTES) return await unlocked.readAt(path, 0, bytes);
  return refuseWeights('weights-index-malformed', path, `at most ${MAX_INDEX_BYTES} bytes`, `${bytes} bytes`);
}
