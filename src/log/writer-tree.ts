/**
 * The tree of a log as one of its writers knows it. It grows by the entries of this writer and, where there are several, by
 * those that others appended: each is hashed here, so that what others wrote extends what this writer knew, or is refused.
 */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import type { TreeHead } from './checkpoint-body.ts';
import { historyRefusals, restoreTree, rootAt } from './start-up.ts';
import type { LogStorage, NewEntry, StoredBatch } from './storage.ts';
import type { TreeBuilder, TreeNode } from './tree.ts';

/** Keeps a state that follows from the entries of a log. */
export interface EntryFollower {
  /** The next entry, from another writer. What it throws stops the log. */
  follow(entry: Uint8Array, index: bigint): void;
  /** What this writer made since the last call stands in the log. */
  settle(): void;
  /** What this writer made since then does not, and its places go to others. */
  discard(): void;
}

/** Entries that are read at a time. */
const FOLLOWED_BATCH = 1024n;

export class WriterTree {
  private readonly storage: LogStorage;
  private tree: TreeBuilder;
  /** The last head that is known to be durable. */
  private settled: TreeHead;
  private staged = false;
  private follower: EntryFollower | undefined;

  /** @param tree that of the head in storage */
  constructor(storage: LogStorage, tree: TreeBuilder) {
    this.storage = storage;
    this.tree = tree;
    this.settled = { size: tree.size, root: tree.root() };
  }

  get head(): TreeHead {
    return this.settled;
  }

  /** Tells a follower of all entries from an index on. */
  async attach(follower: EntryFollower, from: bigint): Promise<void> {
    await this.tell(follower, from, this.settled.size);
    this.follower = follower;
  }

  /**
   * Takes in what other writers appended.
   *
   * @throws RefusalError `log-rolled-back`, `log-forked`, those of storage, and what the follower throws
   */
  async follow(): Promise<void> {
    if (this.staged) await this.discard();
    const head = await this.storage.head();
    if (head.size < this.settled.size) {
      throw historyRefusals.error('log-rolled-back', {
        field: 'head.size',
        expected: `at least ${this.settled.size}`,
        found: head.size.toString(),
      });
    }
    while (this.settled.size < head.size) await this.followSome(head);
    requireRoot(head, this.settled.root);
  }

  /** Grows the tree. The batch counts when it was appended and `settle` was called. */
  stage(entries: readonly NewEntry[]): StoredBatch {
    this.staged = true;
    const nodes: TreeNode[] = [];
    for (const { entry } of entries) nodes.push(...this.tree.append(entry));
    const head = { size: this.tree.size, root: this.tree.root() };
    return { sizeBefore: this.settled.size, entries, nodes, head };
  }

  settle(): void {
    this.settled = { size: this.tree.size, root: this.tree.root() };
    this.staged = false;
    this.follower?.settle();
  }

  /** Goes back to what is durable, after a batch was not written. */
  async discard(): Promise<void> {
    this.follower?.discard();
    if (!this.staged) return;
    const tree = await restoreTree(this.storage, this.settled.size);
    requireRoot(this.settled, tree.root());
    this.tree = tree;
    this.staged = false;
  }

  /** The follower is told of a batch only when its entries are hashed and the root after it is the one in storage. */
  private async followSome(head: TreeHead): Promise<void> {
    const { size } = this.settled;
    const end = size + FOLLOWED_BATCH < head.size ? size + FOLLOWED_BATCH : head.size;
    const entries = await this.storage.entries(size, end);
    for (const entry of entries) this.tree.append(entry);
    const root = end === head.size ? head.root : await rootAt(this.storage, end);
    requireRoot({ size: end, root }, this.tree.root());
    this.settled = { size: end, root };
    entries.forEach((entry, i) => this.follower?.follow(entry, size + BigInt(i)));
  }

  private async tell(follower: EntryFollower, start: bigint, end: bigint): Promise<void> {
    for (let from = start; from < end; from += FOLLOWED_BATCH) {
      const to = from + FOLLOWED_BATCH < end ? from + FOLLOWED_BATCH : end;
      const entries = await this.storage.entries(from, to);
      entries.forEach((entry, i) => {
        follower.follow(entry, from + BigInt(i));
      });
    }
  }
}

function requireRoot({ size, root }: TreeHead, found: Uint8Array): void {
  if (equalBytes(root, found)) return;
  throw historyRefusals.error('log-forked', {
    field: `root at size ${size}`,
    expected: toHex(root),
    found: toHex(found),
  });
}
