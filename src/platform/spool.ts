/**
 * Lines that wait until it is known whether they may be shown: nothing of a log is said before all of it is verified,
 * and a log may be larger than memory. The first ones are held in memory, the rest in a file that has no name.
 */

import { open, rm, type FileHandle } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MEMORY_CHARACTERS = 8 << 20;
const WRITE_CHARACTERS = 1 << 20;

export class Spool implements AsyncDisposable {
  readonly #memoryCharacters: number;
  #held: string[] = [];
  #heldCharacters = 0;
  /** A short line after a long one does not go before it. */
  #isFull = false;
  #waiting: string[] = [];
  #waitingCharacters = 0;
  #file: FileHandle | undefined;

  /** @param memoryCharacters how much is held before anything goes to a file */
  constructor(memoryCharacters = MEMORY_CHARACTERS) {
    this.#memoryCharacters = memoryCharacters;
  }

  /** @param line without a line feed in it */
  async append(line: string): Promise<void> {
    this.#isFull ||= this.#heldCharacters + line.length > this.#memoryCharacters;
    if (!this.#isFull) {
      this.#held.push(line);
      this.#heldCharacters += line.length;
      return;
    }
    this.#waiting.push(`${line}\n`);
    this.#waitingCharacters += line.length + 1;
    if (this.#waitingCharacters >= WRITE_CHARACTERS) await this.#flush();
  }

  /** All lines, in their order. Nothing may be appended any more. */
  async *lines(): AsyncGenerator<string, void, undefined> {
    yield* this.#held;
    await this.#flush();
    if (this.#file !== undefined) yield* this.#file.readLines({ start: 0, autoClose: false });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close();
  }

  async #flush(): Promise<void> {
    if (this.#waiting.length === 0) return;
    this.#file ??= await openNameless();
    await this.#file.appendFile(this.#waiting.join(''));
    this.#waiting = [];
    this.#waitingCharacters = 0;
  }
}

/** Nobody else finds the file, and it is gone when this process ends, however it ends. */
async function openNameless(): Promise<FileHandle> {
  const path = join(tmpdir(), `weightgate-${randomUUID()}`);
  const file = await open(path, 'wx+', 0o600);
  await rm(path);
  return file;
}
