/**
 * Where a log keeps its tree: in an embedded database for one server (`sqlite-storage.ts`), or in one that several servers
 * write to (`postgres-storage.ts`). Both pass the same tests.
 *
 * Every method rejects with a RefusalError. A rejected write leaves it open whether the write happened, except where
 * the code says that it did not: `log-head-moved`, `log-fenced`, `log-storage-busy`.
 */

import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { TreeHead } from './checkpoint-body.ts';
import type { NodeId, TreeNode } from './tree.ts';

export const storageRefusals = defineRefusals('environment', {
  'log-missing': {
    means: 'There is no log where one is expected.',
    hint: 'Check the path. If the log was lost, restore it: a new log under the old key would hide what was decided.',
  },
  'log-exists': {
    means: 'A log would be created where one is already.',
    hint: 'Nothing was changed. Open the log that is there, or choose another folder.',
  },
  'log-locked': {
    means: 'Another process writes to this log.',
    hint: 'Stop the other server first; one process writes to a log.',
  },
  'log-storage-version': {
    means: 'The database is not a log of a version that this release knows.',
    hint: 'Use the release that made it, or check that the path names a log.',
  },
  'log-storage-failed': {
    means: 'The database of the log could not be read or written.',
    hint: 'Check free space, permissions and the disk, then start the server again.',
  },
  'log-storage-unsafe': {
    means: 'The database would acknowledge entries that it can still lose, or not take them as they are.',
    hint: 'Set what is named to what is expected, in the configuration of the database server and for the role of this log.',
  },
  'log-damaged': {
    means: 'The database of the log does not hold what its own head says.',
    hint: 'Do not repair it by hand. Restore the newest backup, and let an auditor compare it with the checkpoints.',
  },
});

export const storageBusyRefusals = defineRefusals('unavailable', {
  'log-storage-busy': {
    means: 'The database of the log did not get to a write in time. Nothing was written.',
    hint: 'Try again in a moment; if it goes on, look at the load of the database and at what holds its locks.',
  },
});

export const storageConflictRefusals = defineRefusals('inauthentic', {
  'log-fenced': {
    means: 'The log was closed to the servers that had it open.',
    hint: 'Start the server again: it then checks the log before it writes. Whoever closed it had a reason; ask them first.',
  },
  'log-head-moved': {
    means: 'Another writer has extended the log.',
    hint: 'Find the second server that uses this database and stop it; then start this one again.',
  },
});

/** An entry on its way into storage. */
export interface NewEntry {
  readonly entry: Uint8Array;
  /** Unique over the whole log where present; chosen by the caller. */
  readonly idempotencyKey?: string | undefined;
}

/** Everything that one append changes. */
export interface StoredBatch {
  /** The size on which the batch builds; storage refuses when its head is another. */
  readonly sizeBefore: bigint;
  readonly entries: readonly NewEntry[];
  /** All perfect subtrees that the entries complete. */
  readonly nodes: readonly TreeNode[];
  readonly head: TreeHead;
}

/** What only one writer of a log may do at a time: extend it, or sign its head. */
export type WriterTurn = 'extend' | 'publish';

export interface LogStorage {
  /** Whether several servers may write at the same time; otherwise a head that moved by itself is a fault (TL-19). */
  readonly shared: boolean;
  /** @throws RefusalError `log-fenced` */
  head(): Promise<TreeHead>;
  /**
   * Does work while no other writer does work of the same turn. The turn ends early when the database is lost, so that the
   * work must be safe without it: it orders writers, it protects nothing.
   *
   * @throws RefusalError `log-fenced`, `log-storage-busy`, `log-storage-failed`, and what the work throws
   */
  inTurn<T>(turn: WriterTurn, work: () => Promise<T>): Promise<T>;
  /**
   * Makes a batch durable, all or nothing.
   *
   * @throws RefusalError `log-head-moved`, `log-fenced`, `log-storage-busy`, `log-storage-failed`
   */
  append(batch: StoredBatch): Promise<void>;
  /** Hashes in the order of the identifiers. @throws RefusalError `log-damaged` when one is missing */
  nodes(ids: readonly NodeId[]): Promise<readonly Uint8Array[]>;
  /** Entries from `start` up to `end`. @throws RefusalError `log-damaged` when one is missing */
  entries(start: bigint, end: bigint): Promise<readonly Uint8Array[]>;
  /** The indexes of those idempotency keys that are in the log. */
  indexesOf(idempotencyKeys: readonly string[]): Promise<Map<string, bigint>>;
  /** Makes the signed checkpoint of a size durable. @throws RefusalError `log-fenced`, `log-storage-failed` */
  saveCheckpoint(size: bigint, note: string): Promise<void>;
  /** The signed checkpoint of the largest size. */
  newestCheckpoint(): Promise<string | undefined>;
  close(): Promise<void>;
}
