/**
 * One lane of the portable way: takes chunks, opens each in its own scratch memory, and puts in place what is
 * authentic. Reading, decrypting and writing run on the platform's threads; a lane has no JavaScript heap of its own,
 * so that many lanes cost little more than their scratch memory. It opens files of every source.
 */

import { Aes256Gcm } from '../../native/memory/aes-gcm.ts';
import { Mapping } from '../../native/memory/mapping.ts';
import type { PlannedFile, UnsealPlan } from './chunk-plan.ts';
import { refuseChunk } from './files.ts';
import type { Jobs } from './jobs.ts';
import { chunkNonce } from './keys.ts';
import { CHUNK_BYTES, chunkLength } from './layout.ts';
import { mayReadAgain, type SourceFile } from './source/source.ts';
import { tagAt } from './tags.ts';

/**
 * Runs a lane to its end. When it resolves, no thread works for it any more.
 *
 * @returns what went wrong; then all lanes are told to stop
 */
export async function runUnsealLane(
  plan: UnsealPlan,
  jobs: Jobs,
  signal: AbortSignal,
): Promise<Error | undefined> {
  try {
    const lane = new UnsealLane(plan, signal);
    try {
      for (let job = jobs.take(); job !== undefined; job = jobs.take()) {
        jobs.addProgress(await lane.openJob(job));
      }
    } finally {
      await lane.close();
    }
    return undefined;
  } catch (error) {
    jobs.stop();
    return error instanceof Error ? error : new Error(String(error));
  }
}

class UnsealLane {
  readonly #plan: UnsealPlan;
  readonly #signal: AbortSignal;
  readonly #cipher = new Aes256Gcm();
  readonly #scratch = Mapping.create(CHUNK_BYTES);
  #fileIndex = 0;
  #opened: SourceFile | undefined;

  constructor(plan: UnsealPlan, signal: AbortSignal) {
    this.#plan = plan;
    this.#signal = signal;
  }

  /** @returns how many bytes were opened */
  async openJob(job: number): Promise<number> {
    const file = await this.#fileOf(job);
    const index = job - file.firstJob;
    const length = chunkLength(file.bytes, index);
    await this.#openIntoScratch(file, index, length);
    await file.memory.place(index * CHUNK_BYTES, this.#scratch.address, length);
    return length;
  }

  /** Jobs are taken in rising order, so the file of a job is this or a later one. */
  async #fileOf(job: number): Promise<PlannedFile> {
    for (;;) {
      const file = this.#plan.files[this.#fileIndex];
      if (file === undefined) throw new RangeError('a job beyond the last file');
      if (job < file.firstJob + file.chunks) return file;
      await this.#closeFile();
      this.#fileIndex += 1;
    }
  }

  /** SW-8: the scratch memory is this lane's own; what is in it has left nobody. */
  async #openIntoScratch(file: PlannedFile, index: number, length: number): Promise<void> {
    this.#opened ??= await this.#plan.source.open(file.path, file.bytes);
    if (await this.#readAndOpen(this.#opened, file, index, length, false)) return;
    const again = mayReadAgain(this.#opened);
    if (again && (await this.#readAndOpen(this.#opened, file, index, length, true))) return;
    refuseChunk(file.path, index);
  }

  /** @returns whether the chunk is authentic */
  async #readAndOpen(
    from: SourceFile,
    file: PlannedFile,
    index: number,
    length: number,
    again: boolean,
  ): Promise<boolean> {
    const { address } = this.#scratch;
    await from.read({ address }, index * CHUNK_BYTES, length, { signal: this.#signal, again });
    this.#cipher.start('open', file.keyAddress, chunkNonce(index, index === file.chunks - 1));
    await this.#cipher.updateAsync(address, length);
    return this.#cipher.finishOpening(tagAt(this.#plan.tags, file.firstTag + index));
  }

  async #closeFile(): Promise<void> {
    await this.#opened?.close();
    this.#opened = undefined;
  }

  async close(): Promise<void> {
    await this.#closeFile();
    this.#scratch.zeroise();
    this.#scratch.unmap();
    this.#cipher.close();
  }
}
