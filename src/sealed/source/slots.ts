/** A bound on how much is done at a time. */

import { interrupted } from '../refusals.ts';

export class Slots {
  #free: number;
  /** In the order in which they came. */
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Does work when there is a slot for it.
   *
   * @throws RefusalError `sealed-interrupted` when the signal comes before the slot
   */
  async run<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(signal);
    try {
      return await work();
    } finally {
      this.#handOn();
    }
  }

  /** A slot that is given back goes to the next in line, without being free in between. */
  #handOn(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(take);
        reject(interrupted());
      };
      const take = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      if (signal?.aborted === true) {
        reject(interrupted());
        return;
      }
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(take);
    });
  }
}
