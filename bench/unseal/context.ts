/** What all rows share: the place, the size, and the files, each made when the first row asks for it. */

import { createCipheriv, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import { runModule } from '../support/program.ts';
import type { Workplace } from '../support/workplace.ts';
import type { SealArguments, SealReport } from './seal-process.ts';

const PIECE_BYTES = 4 * 1024 * 1024;
const SHARDS = 8;

export const WEIGHTS = 'weights.bin';
export const SEAL_PROCESS = new URL('./seal-process.ts', import.meta.url);

/** A sealed bundle on disk. */
export interface Bundle {
  readonly folder: string;
  /** The ciphertext of the weights. */
  readonly weights: string;
  readonly manifestDigest: string;
}

export class Context {
  readonly workplace: Workplace;
  readonly bytes: number;
  readonly signal: AbortSignal;
  readonly #made = new Map<string, Promise<unknown>>();

  constructor(workplace: Workplace, bytes: number, signal: AbortSignal) {
    this.workplace = workplace;
    this.bytes = bytes;
    this.signal = signal;
  }

  /** What programs write to: huge pages where there are some. */
  get fastest(): string {
    const folder = this.workplace.huge ?? this.workplace.ordinary;
    if (folder === undefined) throw new Error('there is no file system in memory to write to');
    return folder;
  }

  get environment(): Readonly<Record<string, string>> {
    // As bin/weightgate does: a start takes half the time.
    return { NODE_COMPILE_CACHE: this.workplace.path('compiled') };
  }

  /** @returns what `make` gave the first time */
  once<T>(name: string, make: () => Promise<T>): Promise<T> {
    const made = this.#made.get(name) ?? make();
    this.#made.set(name, made);
    return made as Promise<T>;
  }

  modelKeyFile(): Promise<string> {
    return this.once('model key', async () => {
      const path = this.workplace.path('model-key');
      await writeFile(path, randomBytes(32), { mode: 0o600 });
      return path;
    });
  }

  /** A folder with one file of random bytes. */
  plainFolder(): Promise<string> {
    return this.once('plain', async () => {
      const folder = this.workplace.path('plain');
      await mkdir(folder);
      await writeRandomFile(join(folder, WEIGHTS), this.bytes, this.signal);
      return folder;
    });
  }

  async plainFile(): Promise<string> {
    return join(await this.plainFolder(), WEIGHTS);
  }

  /** The same bytes in several files, as large models are published. */
  shards(): Promise<readonly string[]> {
    return this.once('shards', async () => {
      const plain = await this.plainFile();
      await mkdir(this.shardsFolder);
      const paths = Array.from({ length: SHARDS }, (_, i) => join(this.shardsFolder, `weights-${i + 1}.bin`));
      for (const [i, path] of paths.entries()) await copyRange(plain, path, this.#shard(i), this.signal);
      return paths;
    });
  }

  get shardsFolder(): string {
    return this.workplace.path('shards');
  }

  #shard(index: number): { readonly start: number; readonly end: number } {
    const start = Math.floor((this.bytes * index) / SHARDS);
    // The end of a read stream is the last byte of it.
    return { start, end: Math.floor((this.bytes * (index + 1)) / SHARDS) - 1 };
  }

  bundle(): Promise<Bundle> {
    return this.once('bundle', async () =>
      this.seal(await this.plainFolder(), this.workplace.path('bundle')),
    );
  }

  async seal(source: string, folder: string): Promise<Bundle> {
    const args: SealArguments = { source, target: folder, modelKeyFile: await this.modelKeyFile() };
    const { manifestDigest } = (await runModule(SEAL_PROCESS, args, this)).result as SealReport;
    return { folder, weights: join(folder, WEIGHTS), manifestDigest };
  }
}

/** AES in counter mode over zeros: fast, and nothing compresses it. */
export async function writeRandomFile(path: string, bytes: number, signal: AbortSignal): Promise<void> {
  const stream = createCipheriv('aes-256-ctr', randomBytes(32), randomBytes(16));
  const zeros = new Uint8Array(PIECE_BYTES);
  const file = await open(path, 'wx');
  try {
    for (let left = bytes; left > 0;) {
      signal.throwIfAborted();
      const piece = stream.update(zeros.subarray(0, Math.min(left, PIECE_BYTES)));
      await file.writeFile(piece);
      left -= piece.length;
    }
  } finally {
    await file.close();
  }
}

async function copyRange(
  source: string,
  target: string,
  range: { readonly start: number; readonly end: number },
  signal: AbortSignal,
): Promise<void> {
  await pipeline(
    createReadStream(source, { ...range, highWaterMark: PIECE_BYTES }),
    createWriteStream(target),
    {
      signal,
    },
  );
}
