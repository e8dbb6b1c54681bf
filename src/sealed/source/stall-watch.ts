/** Notices a connection over which next to nothing comes (SW-37). */

export interface StallLimits {
  readonly windowMilliseconds: number;
  /** How much has to come in each window. */
  readonly leastBytes: number;
}

export const STALL_LIMITS: StallLimits = { windowMilliseconds: 30_000, leastBytes: 16 * 1024 };

export class StallWatch {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #bytesInWindow = 0;

  constructor({ windowMilliseconds, leastBytes }: StallLimits) {
    this.#timer = setInterval(() => {
      if (this.#bytesInWindow < leastBytes) this.#controller.abort();
      this.#bytesInWindow = 0;
    }, windowMilliseconds);
  }

  /** Aborts when a window has ended with too little. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  add(bytes: number): void {
    this.#bytesInWindow += bytes;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
