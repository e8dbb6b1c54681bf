/** One tensor of a lazily opened model, from the start of its opening until its memory is given back. */

import type { SecretMemory } from '../../native/memory/secret-memory.ts';
import { interrupted } from './refusals.ts';
import type { IndexedTensor } from './tensor-index.ts';

export class HeldTensor {
  readonly tensor: IndexedTensor;
  /** Those who wait for it count too. */
  users = 0;
  readonly #controller = new AbortController();
  readonly #opened: Promise<SecretMemory>;
  #memory: SecretMemory | undefined;

  /** @param open starts at once; ends early when its signal asks for it */
  constructor(tensor: IndexedTensor, open: (signal: AbortSignal) => Promise<SecretMemory>) {
    this.tensor = tensor;
    this.#opened = open(this.#controller.signal).then((memory) => (this.#memory = memory));
  }

  get isOpen(): boolean {
    return this.#memory !== undefined;
  }

  /** @throws RefusalError `sealed-interrupted` when the signal comes first, and whatever the opening throws */
  async memory(signal?: AbortSignal): Promise<SecretMemory> {
    if (signal === undefined) return await this.#opened;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => {
      reject(interrupted());
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([promise, this.#opened]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  onFailure(work: () => void): void {
    this.#opened.catch(work);
  }

  /**
   * Overwrites and gives back the memory: at once when it is open, else when the opening, which is told to stop, has
   * ended. Never rejects.
   */
  async drop(): Promise<void> {
    this.#memory?.close();
    this.#controller.abort();
    await this.#opened.then(
      (memory) => {
        memory.close();
      },
      () => undefined,
    );
  }
}
