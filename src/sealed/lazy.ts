/**
 * A sealed model of which only what is used is opened: each tensor at its first use, into secret memory, where it
 * stays for the next (SW-55). For tools that need a few tensors of a model larger than the machine's memory.
 *
 * ```ts
 * const model = await LazyBundle.open(bundle, modelKey, { maxBytes: 2 ** 30 });
 * try {
 *   const norm = await model.use('model.norm.weight');
 *   try {
 *     work(norm.memory, norm.tensor.shape);
 *   } finally {
 *     norm.release();
 *   }
 * } finally {
 *   await model.close();
 * }
 * ```
 */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { KeyMemory } from '../../native/memory/key-memory.ts';
import type { SecretMemory } from '../../native/memory/secret-memory.ts';
import { HeldTensor } from './held-tensor.ts';
import type { SealedBundle, UnlockedBundle } from './reader.ts';
import { interrupted } from './refusals.ts';
import { Slots } from './source/slots.ts';
import { TensorIndex, type IndexedTensor, type TensorOptions } from './tensor-index.ts';

/** Each holds a descriptor of this process. */
const MAX_OPEN_TENSORS = 1024;
/** Each takes a chunk of locked scratch memory while it lasts. */
const MAX_OPENINGS_AT_A_TIME = 4;

export const lazyUsage = defineRefusals('usage', {
  'tensor-memory-bound': {
    means: 'A tensor would take more memory than was allowed, and all that is open is in use.',
    hint: 'Release tensors before using the next, or allow more memory.',
  },
  'tensor-bundle-closed': {
    means: 'A tensor was asked for after the model was closed.',
    hint: 'Open the model again.',
  },
});

export interface LazyOptions {
  /** How many bytes of tensors are kept at most; without a bound by default. */
  readonly maxBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A tensor while it is used: it is not given back before `release`. */
export interface TensorUse {
  readonly tensor: IndexedTensor;
  /** Closed by the model, never by its user. After `LazyBundle.close` every access is refused. */
  readonly memory: SecretMemory;
  /** A second call does nothing. */
  release(): void;
}

export class LazyBundle {
  readonly index: TensorIndex;
  readonly #unlocked: UnlockedBundle;
  readonly #maxBytes: number;
  readonly #slots = new Slots(MAX_OPENINGS_AT_A_TIME);
  /** Open or being opened, in the order of their last use. */
  readonly #held = new Map<IndexedTensor, HeldTensor>();
  /** Openings that nobody waits for any more and that have not ended yet. */
  readonly #leaving = new Map<HeldTensor, Promise<void>>();
  #closing: Promise<void> | undefined;

  private constructor(unlocked: UnlockedBundle, index: TensorIndex, maxBytes: number) {
    this.#unlocked = unlocked;
    this.index = index;
    this.#maxBytes = maxBytes;
  }

  /**
   * Opens the headers of the weight files.
   *
   * @param modelKey stays the caller's, and may be closed as soon as this returns
   * @throws RefusalError `sealed-key-*`, `memory-*`, and those of `TensorIndex.open`
   */
  static async open(
    bundle: SealedBundle,
    modelKey: KeyMemory,
    { maxBytes = Number.POSITIVE_INFINITY, signal }: LazyOptions = {},
  ): Promise<LazyBundle> {
    const unlocked = bundle.unlock(modelKey);
    try {
      return new LazyBundle(unlocked, await TensorIndex.open(unlocked, signal), maxBytes);
    } catch (error) {
      unlocked.close();
      throw error;
    }
  }

  /** Bytes of the tensors that are open or being opened. */
  get heldBytes(): number {
    const held = [...this.#held.values(), ...this.#leaving.keys()];
    return held.reduce((sum, { tensor }) => sum + tensor.bytes, 0);
  }

  /**
   * Opens a tensor, or hands out the one that is open. Its user releases it.
   *
   * @param options.signal ends the waiting; the opening goes on when others wait for it too
   * @throws RefusalError `tensor-*`, `sealed-interrupted`, and those of `TensorIndex.readTensor`
   */
  async use(name: string, { path, signal }: TensorOptions = {}): Promise<TensorUse> {
    this.#requireOpen();
    if (signal?.aborted === true) throw interrupted();
    const tensor = this.index.find(name, path);
    const held = this.#held.get(tensor) ?? this.#start(tensor);
    this.#held.delete(tensor);
    this.#held.set(tensor, held);
    held.users += 1;
    const release = once(() => {
      held.users -= 1;
    });
    try {
      const memory = await held.memory(signal);
      this.#requireOpen();
      return { tensor, memory, release };
    } catch (error) {
      release();
      if (held.users === 0 && !held.isOpen) void this.#drop(held);
      throw error;
    }
  }

  #requireOpen(): void {
    if (this.#closing === undefined) return;
    throw lazyUsage.error('tensor-bundle-closed', { field: 'model', expected: 'open', found: 'closed' });
  }

  #start(tensor: IndexedTensor): HeldTensor {
    this.#makeRoom(tensor);
    const { name, path } = tensor;
    const held = new HeldTensor(tensor, (signal) =>
      this.#slots.run(signal, () => this.index.readTensor(name, { path, signal })),
    );
    held.onFailure(() => {
      this.#forget(held);
    });
    return held;
  }

  /** Gives back what nobody uses, the longest unused first, until there is room. */
  #makeRoom({ name, bytes }: IndexedTensor): void {
    const hasRoom = (): boolean =>
      this.heldBytes + bytes <= this.#maxBytes && this.#held.size + this.#leaving.size < MAX_OPEN_TENSORS;
    for (const held of this.#held.values()) {
      if (hasRoom()) return;
      if (held.users === 0 && held.isOpen) void this.#drop(held);
    }
    if (hasRoom()) return;
    throw lazyUsage.error('tensor-memory-bound', {
      field: excerpt(name),
      expected: `at most ${this.#maxBytes} bytes of at most ${MAX_OPEN_TENSORS} tensors`,
      found: `${bytes} bytes beside ${this.heldBytes} that are in use`,
    });
  }

  #forget(held: HeldTensor): void {
    if (this.#held.get(held.tensor) === held) this.#held.delete(held.tensor);
  }

  /** @returns when nothing of the tensor is left */
  async #drop(held: HeldTensor): Promise<void> {
    this.#forget(held);
    const left = held.drop();
    if (!held.isOpen) this.#leaving.set(held, left);
    await left;
    this.#leaving.delete(held);
  }

  /**
   * Ends all openings and overwrites all tensors and the keys. A second call waits for the first.
   */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const drops = [...this.#held.values()].map((held) => this.#drop(held));
    await Promise.all([...drops, ...this.#leaving.values()]);
    this.#unlocked.close();
  }
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    work();
  };
}
