/** A position in the header of a GGUF file: everything is bounded before it is read. */

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import { decode, littleEndian } from '../../attestation/core/layout.ts';
import { refuseWeights, type ReadRange } from './tensors.ts';

/** SW-25. */
const MAX_HEADER_BYTES = 64 * 1024 * 1024;
export const WINDOW_BYTES = 256 * 1024;
/** What stands before a string: how many bytes it has. */
const LENGTH_BYTES = 8;

/** A position in the header, with a window of the file around it. All numbers in it come from the file. */
export class HeaderCursor {
  readonly path: string;
  readonly #read: ReadRange;
  readonly #limit: number;
  readonly #isWholeFile: boolean;
  #window: Uint8Array = new Uint8Array();
  #windowStart = 0;
  #position = 0;

  constructor(path: string, fileBytes: number, read: ReadRange) {
    this.path = path;
    this.#read = read;
    this.#limit = Math.min(fileBytes, MAX_HEADER_BYTES);
    this.#isWholeFile = fileBytes <= MAX_HEADER_BYTES;
  }

  get position(): number {
    return this.#position;
  }

  /** Refuses what the header has not the bytes for, before anything is done so many times. */
  require(length: number): void {
    if (this.#position + length <= this.#limit) return;
    refuseWeights(
      this.#isWholeFile ? 'weights-header-malformed' : 'weights-header-too-large',
      this.path,
      `a header within ${this.#limit} bytes`,
      `${length} bytes at ${this.#position}`,
    );
  }

  skip(length: number): void {
    this.require(length);
    this.#position += length;
  }

  async take(length: number): Promise<Uint8Array> {
    if (!this.#isLoaded(length)) await this.#load(length);
    return this.#takeLoaded(length);
  }

  /** Does not wait where nothing has to be read: a vocabulary is of hundreds of thousands of strings. */
  async skipStrings(count: number): Promise<void> {
    this.require(count * LENGTH_BYTES);
    for (let i = 0; i < count; i += 1) {
      if (!this.#isLoaded(LENGTH_BYTES)) await this.#load(LENGTH_BYTES);
      this.skip(this.#toNumber(this.#takeLoaded(LENGTH_BYTES)));
    }
  }

  #isLoaded(length: number): boolean {
    const end = this.#windowStart + this.#window.length;
    return this.#position >= this.#windowStart && this.#position + length <= end;
  }

  async #load(length: number): Promise<void> {
    this.require(length);
    this.#windowStart = this.#position;
    const bytes = Math.min(Math.max(length, WINDOW_BYTES), this.#limit - this.#position);
    this.#window = await this.#read(this.#position, bytes);
  }

  #takeLoaded(length: number): Uint8Array {
    const from = this.#position - this.#windowStart;
    this.#position += length;
    return this.#window.subarray(from, from + length);
  }

  async u32(): Promise<number> {
    return decode(littleEndian.u32(), await this.take(4), this.path);
  }

  async u64(): Promise<number> {
    return this.#toNumber(await this.take(8));
  }

  #toNumber(bytes: Uint8Array): number {
    const value = decode(littleEndian.u64(), bytes, this.path);
    if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    return refuseWeights('weights-header-malformed', this.path, 'a number below 2^53', value.toString());
  }

  async text(maxBytes: number): Promise<string> {
    const length = await this.u64();
    if (length > maxBytes) {
      refuseWeights(
        'weights-header-malformed',
        this.path,
        `a name of at most ${maxBytes} bytes`,
        `${length}`,
      );
    }
    return fromUtf8(await this.take(length), this.path);
  }
}
