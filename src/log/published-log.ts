/** The log up to one signed checkpoint: what anybody may read, and the proofs that can be made of it. */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { VerifiedCheckpoint } from './checkpoint.ts';
import { storageRefusals, type LogStorage } from './storage.ts';
import { TILE_HEIGHT, TILE_WIDTH, encodeEntryBundle, tileWidthAt, type TileId } from './tiles.ts';
import { formatTlogProof } from './tlog-proof.ts';
import { foldPlan, planConsistency, planInclusion, TreeBuilder, type NodeId, type NodePlan } from './tree.ts';

export const rangeRefusals = defineRefusals('usage', {
  'log-range': {
    means: 'An index or a size lies beyond the newest checkpoint of the log.',
    hint: 'Ask for entries below the size of the checkpoint.',
  },
});

/** Entries that a replay reads at a time. */
const REPLAY_BATCH = 1024n;

/** An immutable view. A newer checkpoint makes a new one. */
export class PublishedLog {
  readonly checkpoint: VerifiedCheckpoint;
  private readonly storage: LogStorage;

  /** @param checkpoint of the log in this storage, no larger than its head */
  constructor(storage: LogStorage, checkpoint: VerifiedCheckpoint) {
    this.storage = storage;
    this.checkpoint = checkpoint;
  }

  get size(): bigint {
    return this.checkpoint.size;
  }

  /** Entries from `start` up to `end`. @throws RefusalError `log-range`, `log-damaged` */
  async entries(start: bigint, end: bigint): Promise<readonly Uint8Array[]> {
    if (start < 0n || start > end) refuseRange(`from 0 to ${end}`, start);
    if (end > this.size) refuseRange(`at most ${this.size}`, end);
    return await this.storage.entries(start, end);
  }

  /**
   * All entries from the first one on, hashed as they pass: whoever may write to the database but not sign could
   * alter any of them. Act on none before the last one was taken, for only then is the root compared (TL-23).
   *
   * @throws RefusalError `log-damaged`
   */
  async *replay(): AsyncGenerator<Uint8Array, void, undefined> {
    const tree = new TreeBuilder();
    for (let start = 0n; start < this.size; start += REPLAY_BATCH) {
      const end = start + REPLAY_BATCH < this.size ? start + REPLAY_BATCH : this.size;
      const entries = await this.storage.entries(start, end);
      tree.appendAll(entries);
      yield* entries;
    }
    if (tree.size !== this.size || !equalBytes(tree.root(), this.checkpoint.root)) this.refuseOtherRoot(tree);
  }

  /** The offline proof of an entry (`tlog-proof` text). @throws RefusalError `log-range`, `log-damaged` */
  async inclusionProof(index: bigint): Promise<string> {
    if (index < 0n || index >= this.size) refuseRange(`below ${this.size}`, index);
    const hashes = await this.fold(planInclusion(index, this.size));
    return formatTlogProof({ index, hashes, checkpoint: this.checkpoint.note });
  }

  /** That the tree of size `second` extends that of size `first`. @throws RefusalError `log-range`, `log-damaged` */
  async consistencyProof(first: bigint, second: bigint): Promise<readonly Uint8Array[]> {
    if (first < 0n || first > second) refuseRange(`from 0 to ${second}`, first);
    if (second > this.size) refuseRange(`at most ${this.size}`, second);
    return await this.fold(planConsistency(first, second));
  }

  /** The content of a tile or entry bundle; undefined where the checkpoint does not reach so far. */
  async tile({ level, index, width }: TileId): Promise<Uint8Array | undefined> {
    if (width > tileWidthAt(this.size, level, index)) return undefined;
    const start = index * BigInt(TILE_WIDTH);
    if (level === 'entries') {
      return encodeEntryBundle(await this.storage.entries(start, start + BigInt(width)));
    }
    const ids: NodeId[] = [];
    for (let i = 0; i < width; i += 1) ids.push({ level: level * TILE_HEIGHT, index: start + BigInt(i) });
    return Buffer.concat(await this.storage.nodes(ids));
  }

  private refuseOtherRoot(tree: TreeBuilder): never {
    throw storageRefusals.error('log-damaged', {
      field: 'entries',
      expected: `${this.size} entries under the signed root ${toHex(this.checkpoint.root)}`,
      found: `${tree.size} entries under the root ${toHex(tree.root())}`,
    });
  }

  /** One hash for each plan, out of one query. */
  private async fold(plans: readonly NodePlan[]): Promise<readonly Uint8Array[]> {
    const hashes = await this.storage.nodes(plans.flat());
    let at = 0;
    return plans.map((plan) => foldPlan(hashes.slice(at, (at += plan.length))));
  }
}

function refuseRange(expected: string, found: bigint): never {
  throw rangeRefusals.error('log-range', { field: 'index', expected, found: found.toString() });
}
