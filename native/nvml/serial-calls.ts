/**
 * Calls into a library that may block, on threads of the platform's pool, one at a time and each with a time limit. A
 * thread that a driver holds cannot be stopped from outside (docs/decisions/0145), so after the first late call nothing
 * is called any more.
 */

import type { RefusalError } from '../../attestation/core/refusal.ts';
import { TaskQueue, within } from '../tpm/transport.ts';

/** Arguments of a native call: numbers, addresses, memory, text, or a function that is called back. */
export type Argument = number | bigint | Uint8Array | string | null | ((...values: never[]) => void);

/** A native function that runs on another thread. */
export type AsyncFunction<Result> = (...values: readonly Argument[]) => Promise<Result>;

/** The form in which koffi runs a function on another thread. */
interface Native {
  async(...values: readonly unknown[]): void;
}

/** What calls were given that have not come back: a late one may still write into it. */
const inUse = new Set<readonly Argument[]>();

export function asyncFunction<Result>(native: Native): AsyncFunction<Result> {
  return (...values) => {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    inUse.add(values);
    native.async(...values, (error: Error | null, result: Result) => {
      inUse.delete(values);
      if (error === null) resolve(result);
      else reject(error);
    });
    return promise;
  };
}

export class SerialCalls {
  private readonly seconds: number;
  private readonly late: (field: string) => RefusalError;
  private readonly queue = new TaskQueue();
  /** Why nothing is called any more. */
  private ended: RefusalError | undefined;

  /**
   * @param seconds how long one call may take
   * @param late the refusal of a call that took longer, and of all after it
   */
  constructor(seconds: number, late: (field: string) => RefusalError) {
    this.seconds = seconds;
    this.late = late;
  }

  /** Whether a call may still be inside the library. */
  get hangs(): boolean {
    return this.ended !== undefined;
  }

  /** @throws RefusalError that of `late`; what `call` throws */
  run<T>(field: string, call: () => Promise<T>): Promise<T> {
    return this.queue.run(async () => {
      if (this.ended !== undefined) throw this.ended;
      return await within(call(), this.seconds, () => (this.ended = this.late(field)));
    });
  }
}
