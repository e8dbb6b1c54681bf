/**
 * Where a log keeps its tree. One implementation stands in `sqlite-storage.ts`; any other must pass the same tests.
 *
 * Every method rejects with a RefusalError, and a rejected write leaves it open whether the write happened.
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
  'log-damaged': {
    means: 'The database of the log does not hold what its own head says.',
    hint: 'Do not repair it by hand. Restore the newest backup, and let an auditor compare it with the checkpoints.',
  },
});

export const storageConflictRefusals = defineRefusals('inauthentic', {
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

export interface LogStorage {
  head(): Promise<TreeHead>;
  /**
   * Makes a batch durable, all or nothing.
   *
   * @throws RefusalError `log-head-moved`, `log-storage-failed`
   */
  append(batch: StoredBatch): Promise<void>;
  /** Hashes in the order of the identifiers. @throws RefusalError `log-damaged` when one is missing */
  nodes(ids: readonly NodeId[]): Promise<readonly Uint8Array[]>;
  /** Entries from `start` up to `end`. @throws RefusalError `log-damaged` when one is missing */
  entries(start: bigint, end: bigint): Promise<readonly Uint8Array[]>;
  /** The indexes of those idempotency keys that are in the log. */
  indexesOf(idempotencyKeys: readonly string[]): Promise<Map<string, bigint>>;
  /** Makes the signed checkpoint of a size durable. */
  saveCheckpoint(size: bigint, note: string): Promise<void>;
  /** The signed checkpoint of the largest size. */
  newestCheckpoint(): Promise<string | undefined>;
  close(): Promise<void>;
}
