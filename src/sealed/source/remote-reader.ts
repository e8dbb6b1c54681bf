/** Ranges of one file of a mirror, whatever happens to the connections on the way (SW-34, SW-36, SW-37). */

import type { IncomingMessage } from 'node:http';

import { excerpt } from '../../../attestation/core/bytes.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { libc } from '../../../native/memory/libc.ts';
import { failureKind } from '../../platform/http-exchange.ts';
import { interrupted } from '../refusals.ts';
import type { Mirror } from './mirror.ts';
import { checkRangeAnswer, type RangeWanted } from './range-answer.ts';
import { sourceInauthentic, sourceMalformed, sourceUnavailable } from './refusals.ts';
import type { Route } from './route.ts';
import type { ReadOptions, ReadTarget } from './source.ts';
import { StallWatch } from './stall-watch.ts';
import { BrokenExchange, retryAfterSeconds, Tries } from './tries.ts';

const TOO_MANY_REQUESTS = 429;
const REQUEST_TIMEOUT = 408;

/** Where the bytes of a read go, copied once. */
class Filling {
  readonly #target: ReadTarget;
  readonly length: number;
  filled = 0;

  constructor(target: ReadTarget, length: number) {
    this.#target = target;
    this.length = length;
  }

  add(bytes: Uint8Array): void {
    if (this.#target instanceof Uint8Array) this.#target.set(bytes, this.filled);
    else libc().copy(this.#target.address + BigInt(this.filled), bytes, bytes.length);
    this.filled += bytes.length;
  }
}

export class RemoteReader {
  readonly #mirror: Mirror;
  readonly #route: Route;
  readonly #path: string;

  constructor(mirror: Mirror, route: Route, path: string) {
    this.#mirror = mirror;
    this.#route = route;
    this.#path = path;
  }

  /** The size that the mirror states, learnt with the first byte of the file. @throws RefusalError as `read` */
  async findSize(signal: AbortSignal | undefined): Promise<number> {
    return await this.read(new Uint8Array(1), { first: 0, last: 0, totalBytes: undefined }, { signal });
  }

  /**
   * Fills the target with a range.
   *
   * @returns the size of the file
   * @throws RefusalError `sealed-file-missing`, `sealed-file-size`, `sealed-interrupted`, `source-*`
   */
  async read(
    target: ReadTarget,
    { first, last, totalBytes }: Omit<RangeWanted, 'path'>,
    { signal, again = false }: ReadOptions,
  ): Promise<number> {
    const filling = new Filling(target, last - first + 1);
    return await this.#mirror.slots.run(signal, async () => {
      const tries = new Tries(this.#mirror.retry);
      for (;;) {
        try {
          const wanted = { path: this.#path, first: first + filling.filled, last, totalBytes };
          return await this.#receive(wanted, filling, again, signal);
        } catch (error) {
          this.#route.forget();
          await tries.afterFailure(error, filling.filled, signal);
        }
      }
    });
  }

  /** One request: as much of the range as comes. */
  async #receive(
    wanted: RangeWanted,
    filling: Filling,
    again: boolean,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    if (signal?.aborted === true) throw interrupted();
    const watch = new StallWatch(this.#mirror.stall);
    try {
      const either = signal === undefined ? watch.signal : AbortSignal.any([signal, watch.signal]);
      const headers = { range: `bytes=${wanted.first}-${wanted.last}` };
      const answer = await this.#route.ask({ headers, again, signal: either });
      const totalBytes = this.#checkHead(answer, wanted);
      await this.#receiveBody(answer, filling, watch);
      return totalBytes;
    } catch (cause) {
      throw this.#meaningOf(cause, signal, watch);
    } finally {
      watch.close();
    }
  }

  #checkHead(answer: IncomingMessage, wanted: RangeWanted): number {
    const { statusCode: status = 0, headers } = answer;
    try {
      if (status === TOO_MANY_REQUESTS || status === REQUEST_TIMEOUT || status >= 500) {
        const facts = { field: excerpt(this.#path), expected: 'status 206', found: `status ${status}` };
        const wait = retryAfterSeconds(headers['retry-after'], this.#mirror.clock);
        throw new BrokenExchange(sourceUnavailable.error('source-busy', facts), wait);
      }
      return checkRangeAnswer({ status, headers }, wanted);
    } catch (error) {
      answer.destroy();
      throw error;
    }
  }

  /** A body without a stated length may still be longer or shorter than its range. */
  async #receiveBody(answer: IncomingMessage, filling: Filling, watch: StallWatch): Promise<void> {
    for await (const part of answer as AsyncIterable<Uint8Array>) {
      if (filling.filled + part.length > filling.length) {
        throw sourceMalformed.error('source-length', {
          field: excerpt(this.#path),
          expected: `${filling.length} bytes`,
          found: 'more',
        });
      }
      filling.add(part);
      watch.add(part.length);
    }
    if (filling.filled < filling.length) throw this.#unreachable('the end of the answer', undefined);
  }

  #meaningOf(cause: unknown, signal: AbortSignal | undefined, watch: StallWatch): unknown {
    if (isRefusal(cause) || cause instanceof BrokenExchange) return cause;
    if (signal?.aborted === true) return interrupted();
    const field = excerpt(this.#path);
    const { kind, code } = failureKind(cause, watch.signal);
    if (kind === 'timeout') {
      const { leastBytes, windowMilliseconds } = this.#mirror.stall;
      const expected = `${leastBytes} bytes in ${windowMilliseconds / 1000} s`;
      const facts = { field, expected, found: 'fewer' };
      return new BrokenExchange(sourceUnavailable.error('source-stalled', facts, { cause }));
    }
    if (kind === 'untrusted') {
      const facts = { field, expected: 'a host that TLS proves', found: excerpt(code) };
      return sourceInauthentic.error('source-not-trusted', facts, { cause });
    }
    return this.#unreachable(excerpt(code), cause);
  }

  #unreachable(found: string, cause: unknown): BrokenExchange {
    const facts = { field: excerpt(this.#path), expected: 'the bytes that were asked for', found };
    return new BrokenExchange(sourceUnavailable.error('source-unreachable', facts, { cause }));
  }
}
