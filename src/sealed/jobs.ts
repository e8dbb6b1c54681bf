/**
 * The list of jobs that worker threads share: numbers 0 to n − 1, each taken once, in rising order. All state is in
 * shared memory; no message is sent for a job.
 */

const NEXT = 0;
const STOPPED = 1;
const PROGRESS_AT = 8;

export class Jobs {
  readonly shared: SharedArrayBuffer;
  readonly #count: number;
  readonly #state: Int32Array;
  readonly #progress: BigInt64Array;

  /** @param shared of another thread's `Jobs` of the same list; without it a new list */
  constructor(count: number, shared = new SharedArrayBuffer(2 * PROGRESS_AT)) {
    this.shared = shared;
    this.#count = count;
    this.#state = new Int32Array(shared, 0, 2);
    this.#progress = new BigInt64Array(shared, PROGRESS_AT, 1);
  }

  /** The next job, or undefined when there is none left or the work was stopped. */
  take(): number | undefined {
    if (this.stopped) return undefined;
    const job = Atomics.add(this.#state, NEXT, 1);
    return job < this.#count ? job : undefined;
  }

  /** For native threads: one element, anything but 0 when the work was stopped. */
  get stopFlag(): Int32Array {
    return this.#state.subarray(STOPPED, STOPPED + 1);
  }

  /** For native threads: one element, the bytes that are done. */
  get progress(): BigInt64Array {
    return this.#progress;
  }

  /** Tells all threads to end at their next chunk. */
  stop(): void {
    Atomics.store(this.#state, STOPPED, 1);
  }

  get stopped(): boolean {
    return Atomics.load(this.#state, STOPPED) === 1;
  }

  addProgress(bytes: number): void {
    Atomics.add(this.#progress, 0, BigInt(bytes));
  }

  get doneBytes(): number {
    return Number(Atomics.load(this.#progress, 0));
  }
}
