/**
 * The writing side of the log: takes entries in batches, makes them durable, signs, and only then answers
 * (docs/spec/release-log.md, section 5). Private keys stay with the signers that are handed in.
 */

import { setTimeout as delay } from 'node:timers/promises';

import { excerpt } from '../../attestation/core/bytes.ts';
import { RefusalError, defineRefusals } from '../../attestation/core/refusal.ts';
import { BatchWriter, type EntryMaker, type Submission } from './batch-writer.ts';
import { CheckpointPublisher } from './checkpoint-publisher.ts';
import type { TreeHead } from './checkpoint-body.ts';
import type { LogTrust } from './checkpoint.ts';
import { leafHash } from './merkle.ts';
import {
  confirmWitnessed,
  publish,
  trustOf,
  type CheckpointKeeper,
  type CheckpointWitnesses,
  type LogIdentity,
  type Publication,
} from './publication.ts';
import { PublishedLog } from './published-log.ts';
import { startTree } from './start-up.ts';
import type { LogStorage } from './storage.ts';
import { checkEntrySize } from './tiles.ts';
import { WriterTree, type EntryFollower } from './writer-tree.ts';

export const logRefusals = defineRefusals('unavailable', {
  'log-overloaded': {
    means: 'More entries wait to be logged than the log accepts.',
    hint: 'Try again in a moment.',
  },
  'log-stopped': {
    means: 'The log has stopped after a failure or was closed.',
    hint: 'Look at the first failure in the log of the server, remove its cause, and start the server again.',
  },
});

export const identityRefusals = defineRefusals('usage', {
  'log-identity': {
    means: 'No key of the log has the name of its origin.',
    hint: 'Name the key of the log as the log; auditors look the one up by the other.',
  },
});

export interface LogLimits {
  /** How long the first entry of a batch waits for others. */
  readonly batchMilliseconds: number;
  /** How many entries one transaction and one signature cover. */
  readonly batchEntries: number;
  /** How many entries may wait; more are refused. */
  readonly waitingEntries: number;
}

const DEFAULT_LOG_LIMITS: LogLimits = {
  batchMilliseconds: 5,
  batchEntries: 256,
  waitingEntries: 4096,
};

/** Where an entry stands, and the proof of it. */
export interface AppendedEntry {
  readonly index: bigint;
  /** The entry in the log: with a repeated idempotency key the first one, not the one that was handed in. */
  readonly entry: Uint8Array;
  /** 32 bytes. */
  readonly leafHash: Uint8Array;
  /** The offline proof (`tlog-proof` text) under the checkpoint. */
  readonly proof: string;
  /** The signed checkpoint. */
  readonly checkpoint: string;
  readonly repeated: boolean;
}

interface Waiting extends Submission {
  resolve(appended: AppendedEntry): void;
  reject(error: unknown): void;
}

interface Renewal {
  resolve(): void;
  reject(error: unknown): void;
}

/** After these a log that several servers write to goes on, if it knows what was written. */
const PASSING = ['log-storage-busy', 'log-storage-failed'];

export class ReleaseLog {
  private readonly publication: Publication;
  private readonly limits: LogLimits;
  private readonly tree: WriterTree;
  private readonly writer: BatchWriter;
  private readonly publisher: CheckpointPublisher;
  private waiting: Waiting[] = [];
  /** Those who wait for the newest checkpoint to be signed anew. */
  private renewals: Renewal[] = [];
  private draining: Promise<void> | undefined;
  private stopped: RefusalError | undefined;
  private closing: Promise<void> | undefined;
  /** The last of those who change the tree, one after the other. */
  private last: Promise<unknown> = Promise.resolve();
  private refreshing: Promise<void> | undefined;

  private constructor(parts: {
    readonly publication: Publication;
    readonly limits: LogLimits;
    readonly tree: WriterTree;
    readonly published: PublishedLog;
  }) {
    this.publication = parts.publication;
    this.limits = parts.limits;
    this.tree = parts.tree;
    this.writer = new BatchWriter(parts.publication.storage, parts.tree, (work) => this.alone(work));
    this.publisher = new CheckpointPublisher(parts.publication, parts.published);
  }

  /**
   * Checks storage against every known checkpoint, signs a head that was left unsigned, and starts to take entries.
   * The log owns storage and witnesses from here on and closes them.
   *
   * @throws RefusalError `log-identity`, `log-checkpoint-missing`, `log-rolled-back`, `log-forked`, `log-damaged`,
   *   `log-not-as-witnessed`, `log-storage-failed`, `log-signer-failed`, and those of `openCheckpoint` when the key is not that of this log
   */
  static async start(
    storage: LogStorage,
    keeper: CheckpointKeeper,
    identity: LogIdentity,
    limits: LogLimits = DEFAULT_LOG_LIMITS,
    witnesses?: CheckpointWitnesses,
  ): Promise<ReleaseLog> {
    const trust = trustOf(identity);
    if (!trust.keys.some(({ name }) => name === identity.origin)) refuseIdentity(identity);
    const { tree, checkpoint } = await startTree(storage, await keeper.load(), trust);
    const head = { size: tree.size, root: tree.root() };
    const publication = { storage, keeper, identity, witnesses };
    if (checkpoint !== undefined) await confirmWitnessed(publication, checkpoint);
    let published: PublishedLog;
    if (checkpoint?.size === head.size) {
      await keeper.save(checkpoint.note);
      published = new PublishedLog(storage, checkpoint);
    } else {
      published = await storage.inTurn('publish', () => publish(publication, head));
    }
    return new ReleaseLog({ publication, limits, tree: new WriterTree(storage, tree), published });
  }

  /** The log as anybody may read it now. */
  get published(): PublishedLog {
    return this.publisher.published;
  }

  /** This log, where other servers write to it too. */
  get shared(): ReleaseLog | undefined {
    return this.isShared ? this : undefined;
  }

  /** Whether nothing is logged any more until the log was opened anew. */
  get isStopped(): boolean {
    return this.stopped !== undefined;
  }

  /** Whose signatures readers of this log trust. */
  get trust(): LogTrust {
    return trustOf(this.publication.identity);
  }

  /**
   * Logs an entry. When the promise resolves, the entry is durable under a signed and durable checkpoint.
   *
   * @param entry 1 to 65,535 bytes
   * @param options.idempotencyKey a repeat of a key answers with the first entry, whatever it carries
   * @throws RefusalError `log-entry-size`, `log-overloaded`, `log-stopped`, `log-signer-failed`, `log-head-moved`,
   *   `log-storage-failed`
   */
  append(
    entry: Uint8Array,
    { idempotencyKey }: { readonly idempotencyKey?: string | undefined } = {},
  ): Promise<AppendedEntry> {
    return new Promise((resolve, reject) => {
      checkEntrySize(entry);
      // The caller may use its buffer again before the batch is written.
      const copy = Uint8Array.from(entry);
      this.enqueue({ make: () => copy, idempotencyKey, resolve, reject });
    });
  }

  /**
   * Logs an entry that is made when its place is settled: no other writer takes it meanwhile, and whoever follows this log was told
   * of all entries before it (TL-41).
   *
   * @throws RefusalError those of `append`, `log-storage-busy` when it is known not to be in the log, and what `make` throws
   */
  appendMade(make: EntryMaker): Promise<AppendedEntry> {
    return new Promise((resolve, reject) => {
      this.enqueue({ make, idempotencyKey: undefined, resolve, reject });
    });
  }

  /**
   * Tells a follower of the entries of other writers from now on, and of those since an index.
   *
   * @throws RefusalError those of storage, and what the follower throws
   */
  async attach(follower: EntryFollower, from: bigint): Promise<void> {
    await this.alone(() => this.tree.attach(follower, from));
  }

  /**
   * Learns what other writers did until now, and shows their newest checkpoint. Of a log with one writer there is nothing to learn.
   *
   * @throws RefusalError `log-stopped`, `log-rolled-back`, `log-forked`, `log-fenced`, and those of storage
   */
  async refresh(): Promise<void> {
    if (!this.isShared) return;
    if (this.stopped !== undefined) throw this.stopped;
    // Who comes while one begins may share it; what runs already may have read before.
    this.refreshing ??= this.alone(() => {
      this.refreshing = undefined;
      return this.learn();
    });
    try {
      await this.refreshing;
    } catch (error) {
      this.stopUnlessPassing(error);
      throw error;
    }
  }

  /**
   * Has the newest checkpoint signed and witnessed once more, although nothing was appended (WT-22).
   *
   * @throws RefusalError `log-stopped`, `log-signer-failed`, `log-storage-failed`, `log-damaged`
   */
  republish(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.stopped !== undefined) throw this.stopped;
      this.renewals.push({ resolve, reject });
      this.draining ??= this.drain();
    });
  }

  /** Finishes what waits, then closes storage. Later appends are refused; closing again changes nothing. */
  close(): Promise<void> {
    this.stopped ??= stoppedRefusal('a closed log');
    this.closing ??= this.finish();
    return this.closing;
  }

  private async finish(): Promise<void> {
    await this.draining;
    this.publication.witnesses?.close();
    await this.publication.storage.close();
  }

  private async drain(): Promise<void> {
    await delay(this.limits.batchMilliseconds);
    // What arrived while a batch was written has waited long enough.
    while (this.waiting.length > 0 || this.renewals.length > 0) {
      const batch = this.waiting.splice(0, this.limits.batchEntries);
      if (batch.length > 0) await this.commit(batch);
      const renewals = this.renewals.splice(0);
      if (renewals.length > 0) await this.renew(renewals);
    }
    this.draining = undefined;
  }

  /** Never rejects, like `commit`. */
  private async renew(renewals: readonly Renewal[]): Promise<void> {
    try {
      await this.publisher.renew(() => this.headNow());
      for (const renewal of renewals) renewal.resolve();
    } catch (error) {
      for (const renewal of renewals) renewal.reject(error);
      this.stopUnlessPassing(error);
    }
  }

  /** Never rejects: each entry gets its own answer. */
  private async commit(batch: readonly Waiting[]): Promise<void> {
    try {
      const places = await this.writer.place(batch);
      for (const place of places) if (place.index === undefined) place.submission.reject(place.reason);
      await this.publisher.publishUpTo(this.tree.head.size, () => this.headNow());
      for (const place of places) {
        if (place.index !== undefined) place.submission.resolve(await this.receipt(place.index, place.entry));
      }
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
      this.stopUnlessPassing(error);
    }
  }

  private async headNow(): Promise<TreeHead> {
    if (this.isShared) await this.alone(() => this.learn());
    return this.tree.head;
  }

  private async learn(): Promise<void> {
    const note = await this.publisher.findNewest();
    await this.tree.follow();
    await this.publisher.adopt(note, this.tree.head);
  }

  /** The tree is changed by one after the other: turns are of this log among others, this is of calls within it. */
  private async alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.last.then(work);
    this.last = mine.catch(() => undefined);
    return await mine;
  }

  private async receipt(index: bigint, fresh: Uint8Array | undefined): Promise<AppendedEntry> {
    const { published } = this;
    const [stored = new Uint8Array(0)] =
      fresh === undefined ? await published.entries(index, index + 1n) : [fresh];
    return {
      index,
      entry: stored,
      leafHash: leafHash(stored),
      proof: await published.inclusionProof(index),
      checkpoint: published.checkpoint.note,
      repeated: fresh === undefined,
    };
  }

  private get isShared(): boolean {
    return this.publication.storage.shared;
  }

  private enqueue(waiting: Waiting): void {
    if (this.stopped !== undefined) throw this.stopped;
    if (this.waiting.length >= this.limits.waitingEntries) {
      throw logRefusals.error('log-overloaded', {
        field: 'entries',
        expected: `fewer than ${this.limits.waitingEntries} waiting`,
        found: this.waiting.length.toString(),
      });
    }
    this.waiting.push(waiting);
    this.draining ??= this.drain();
  }

  private stopUnlessPassing(error: unknown): void {
    const code = codeOf(error);
    if (code === 'log-signer-failed') return;
    if (this.isShared && this.writer.isSure && PASSING.includes(code)) return;
    this.stop(error);
  }

  /** The state of the disk is unknown after a failed write, so nothing is written to it again (TL-20). */
  private stop(cause: unknown): void {
    const reason = cause instanceof Error ? cause.message : 'an unknown failure';
    this.stopped ??= stoppedRefusal(reason, cause);
    const abandoned = [...this.waiting.splice(0), ...this.renewals.splice(0)];
    for (const one of abandoned) one.reject(this.stopped);
  }
}

function refuseIdentity({ origin, signers }: LogIdentity): never {
  throw identityRefusals.error('log-identity', {
    field: 'signers',
    expected: `a key named ${excerpt(origin)}`,
    found: signers.map(({ key }) => excerpt(key.name)).join(', '),
  });
}

function codeOf(error: unknown): string {
  return error instanceof RefusalError ? (error as RefusalError).refusal.code : '';
}

function stoppedRefusal(reason: string, cause?: unknown): RefusalError {
  return logRefusals.error(
    'log-stopped',
    { field: 'log', expected: 'a running log', found: reason },
    { cause },
  );
}
