/** What a log checks about itself before it signs anything (TL-23). */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { TreeHead } from './checkpoint-body.ts';
import { openCheckpoint, type LogTrust, type VerifiedCheckpoint } from './checkpoint.ts';
import { EMPTY_ROOT, leafHash } from './merkle.ts';
import { storageRefusals, type LogStorage } from './storage.ts';
import { TreeBuilder, foldPlan, planRoot } from './tree.ts';

export const historyRefusals = defineRefusals('inauthentic', {
  'log-not-as-witnessed': {
    means: 'A witness has cosigned a newer or another state of this log than the one that would be started.',
    hint: 'Restore the newest database and checkpoint; an older copy was put back. Where there is none, begin a new origin.',
  },
  'log-checkpoint-missing': {
    means: 'The checkpoint that is kept outside the database of the log is gone.',
    hint: 'Put the newest checkpoint that this log has published back in its place; without it an older database would not show.',
  },
  'log-rolled-back': {
    means: 'The database of the log is older than a checkpoint that was signed.',
    hint: 'Restore the newer database. Entries that were acknowledged are missing in this one.',
  },
  'log-forked': {
    means: 'The database of the log holds another history than a checkpoint that was signed.',
    hint: 'Do not start the log. Keep the database and the checkpoint, and begin the incident procedure.',
  },
});

/** A log that may go on. */
export interface StartedTree {
  readonly tree: TreeBuilder;
  /** The newest checkpoint that was found; undefined in a log that never signed one. */
  readonly checkpoint: VerifiedCheckpoint | undefined;
}

/**
 * Recomputes the head from stored nodes and compares it with all checkpoints that this log is known to have signed.
 *
 * @param kept the newest signed checkpoint, as it is kept outside storage; only a log that never signed one may lack it
 * @param trust the log's own origin and keys, from the server's configuration
 * @throws RefusalError `log-damaged`, `log-checkpoint-missing`, `log-rolled-back`, `log-forked`, and those of `openCheckpoint`
 */
export async function startTree(
  storage: LogStorage,
  kept: string | undefined,
  trust: LogTrust,
): Promise<StartedTree> {
  // Before the head, which another writer may move meanwhile: no checkpoint is of a larger size than the head after it.
  const stored = await storage.newestCheckpoint();
  const head = await storage.head();
  const tree = await restoreTree(storage, head.size);
  if (!equalBytes(tree.root(), head.root)) refuseDamaged('root', toHex(head.root), toHex(tree.root()));
  await checkLastEntry(storage, head);
  if (kept === undefined && (head.size > 0n || stored !== undefined)) refuseMissingCheckpoint(head);
  let newest: VerifiedCheckpoint | undefined;
  for (const note of [kept, stored]) {
    if (note === undefined) continue;
    const checkpoint = await openCheckpoint(note, trust);
    await checkHistory(storage, head, checkpoint);
    if (newest === undefined || checkpoint.size > newest.size) newest = checkpoint;
  }
  return { tree, checkpoint: newest };
}

/** The tree as it was at a size. */
export async function restoreTree(storage: LogStorage, size: bigint): Promise<TreeBuilder> {
  return new TreeBuilder(size, await storage.nodes(planRoot(size)));
}

/** The root of the tree as it was at a size. */
export async function rootAt(storage: LogStorage, size: bigint): Promise<Uint8Array> {
  return size === 0n ? EMPTY_ROOT : foldPlan(await storage.nodes(planRoot(size)));
}

async function checkLastEntry(storage: LogStorage, { size }: TreeHead): Promise<void> {
  if (size === 0n) return;
  const [entry = new Uint8Array(0)] = await storage.entries(size - 1n, size);
  const [hash = new Uint8Array(0)] = await storage.nodes([{ level: 0, index: size - 1n }]);
  if (!equalBytes(leafHash(entry), hash)) {
    refuseDamaged(`entry ${size - 1n}`, toHex(hash), toHex(leafHash(entry)));
  }
}

/** Whether a head extends what a checkpoint says. @throws RefusalError `log-rolled-back`, `log-forked` */
export async function checkHistory(
  storage: LogStorage,
  head: TreeHead,
  checkpoint: VerifiedCheckpoint,
): Promise<void> {
  if (checkpoint.size > head.size) {
    throw historyRefusals.error('log-rolled-back', {
      field: 'head.size',
      expected: `at least ${checkpoint.size}`,
      found: head.size.toString(),
    });
  }
  const root = await rootAt(storage, checkpoint.size);
  if (!equalBytes(root, checkpoint.root)) {
    throw historyRefusals.error('log-forked', {
      field: `root at size ${checkpoint.size}`,
      expected: toHex(checkpoint.root),
      found: toHex(root),
    });
  }
}

function refuseMissingCheckpoint({ size }: TreeHead): never {
  throw historyRefusals.error('log-checkpoint-missing', {
    field: 'checkpoint',
    expected: `a checkpoint of a log of ${size} entries`,
    found: 'nothing',
  });
}

function refuseDamaged(field: string, expected: string, found: string): never {
  throw storageRefusals.error('log-damaged', { field, expected, found });
}
