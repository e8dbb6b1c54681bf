/**
 * Gives waiting entries their places and makes them durable, a batch in one transaction (docs/spec/release-log.md, sections 5 and 8).
 */

import { isRefusal, type RefusalError } from '../../attestation/core/refusal.ts';
import { storageBusyRefusals, type LogStorage, type NewEntry, type StoredBatch } from './storage.ts';
import type { WriterTree } from './writer-tree.ts';

/** Makes an entry for the index at which it is going to stand. May be called again, for another index, and may throw. */
export type EntryMaker = (index: bigint) => Uint8Array;

/** An entry that waits for its place. */
export interface Submission {
  readonly make: EntryMaker;
  readonly idempotencyKey: string | undefined;
}

/** What became of it: `entry` is undefined where it was in the log already, `index` where making it threw. */
type Place<S extends Submission> = { readonly submission: S } & (
  | { readonly index: bigint; readonly entry: Uint8Array | undefined }
  | { readonly index: undefined; readonly reason: unknown }
);

/** Turns end early only when the database is lost, so that hardly any race is lost. */
const MAX_LOST_RACES = 5;
/** After these nothing was written. */
const UNWRITTEN = ['log-head-moved', 'log-fenced', 'log-storage-busy'];

export class BatchWriter {
  private readonly storage: LogStorage;
  private readonly tree: WriterTree;
  private readonly alone: <T>(work: () => Promise<T>) => Promise<T>;
  private unsure = false;

  /** @param alone does work while nobody else in this process changes the tree */
  constructor(storage: LogStorage, tree: WriterTree, alone: <T>(work: () => Promise<T>) => Promise<T>) {
    this.storage = storage;
    this.tree = tree;
    this.alone = alone;
  }

  /** Whether it is known of every batch if it was written. */
  get isSure(): boolean {
    return !this.unsure;
  }

  /** Makes a batch durable. A race that was lost to another writer is run again. */
  async place<S extends Submission>(batch: readonly S[]): Promise<readonly Place<S>[]> {
    const { storage } = this;
    for (let lost = 0; ; lost += 1) {
      try {
        return await storage.inTurn('extend', () => this.alone(() => this.extend(batch)));
      } catch (error) {
        if (!storage.shared || codeOf(error) !== 'log-head-moved') throw error;
        if (lost === MAX_LOST_RACES) throw busyRefusal(error);
      }
    }
  }

  private async extend<S extends Submission>(batch: readonly S[]): Promise<readonly Place<S>[]> {
    if (this.storage.shared) await this.tree.follow();
    const known = await this.knownIndexes(batch);
    const { fresh, places } = this.assign(batch, known);
    try {
      if (fresh.length > 0) await this.write(this.tree.stage(fresh));
    } catch (error) {
      if (this.storage.shared && !this.unsure) await this.tree.discard();
      throw error;
    }
    this.tree.settle();
    return places;
  }

  private async write(batch: StoredBatch): Promise<void> {
    this.unsure = true;
    try {
      await this.storage.append(batch);
      this.unsure = false;
    } catch (error) {
      this.unsure = !UNWRITTEN.includes(codeOf(error));
      throw error;
    }
  }

  private async knownIndexes(batch: readonly Submission[]): Promise<Map<string, bigint>> {
    const keys = batch.flatMap(({ idempotencyKey }) =>
      idempotencyKey === undefined ? [] : [idempotencyKey],
    );
    return keys.length === 0 ? new Map() : await this.storage.indexesOf(keys);
  }

  /** @param known gains the keys of this batch: of two with one key the second is a repeat */
  private assign<S extends Submission>(
    batch: readonly S[],
    known: Map<string, bigint>,
  ): { readonly fresh: readonly NewEntry[]; readonly places: readonly Place<S>[] } {
    const fresh: NewEntry[] = [];
    const places = batch.map((submission): Place<S> => {
      const { idempotencyKey } = submission;
      const first = idempotencyKey === undefined ? undefined : known.get(idempotencyKey);
      if (first !== undefined) return { submission, index: first, entry: undefined };
      const index = this.tree.head.size + BigInt(fresh.length);
      try {
        const entry = submission.make(index);
        fresh.push({ entry, idempotencyKey });
        if (idempotencyKey !== undefined) known.set(idempotencyKey, index);
        return { submission, index, entry };
      } catch (reason) {
        return { submission, index: undefined, reason };
      }
    });
    return { fresh, places };
  }
}

function codeOf(error: unknown): string {
  return isRefusal(error) ? error.refusal.code : '';
}

function busyRefusal(cause: unknown): RefusalError {
  const facts = { field: 'head', expected: 'a turn to write', found: 'other writers' };
  return storageBusyRefusals.error('log-storage-busy', facts, { cause });
}
