/**
 * The writing side of the log: takes entries in batches, makes them durable, signs, and only then answers
 * (docs/spec/release-log.md, section 5). Private keys stay with the signers that are handed in.
 */

import { setTimeout as delay } from 'node:timers/promises';

import { excerpt } from '../../attestation/core/bytes.ts';
import { RefusalError, defineRefusals } from '../../attestation/core/refusal.ts';
import type { LogTrust } from './checkpoint.ts';
import { leafHash } from './merkle.ts';
import {
  publish,
  republish,
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
import type { TreeBuilder, TreeNode } from './tree.ts';

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

interface Waiting {
  readonly entry: Uint8Array;
  readonly idempotencyKey: string | undefined;
  resolve(appended: AppendedEntry): void;
  reject(error: unknown): void;
}

interface Renewal {
  resolve(): void;
  reject(error: unknown): void;
}

/** Where each waiting entry of a batch ends, and which of them are new. */
interface Assignment {
  readonly fresh: readonly Waiting[];
  readonly places: readonly {
    readonly waiting: Waiting;
    readonly index: bigint;
    readonly repeated: boolean;
  }[];
}

export class ReleaseLog {
  private readonly publication: Publication;
  private readonly limits: LogLimits;
  private readonly tree: TreeBuilder;
  private current: PublishedLog;
  private waiting: Waiting[] = [];
  /** Those who wait for the newest checkpoint to be signed anew. */
  private renewals: Renewal[] = [];
  private draining: Promise<void> | undefined;
  private stopped: RefusalError | undefined;
  private closing: Promise<void> | undefined;

  private constructor(parts: {
    readonly publication: Publication;
    readonly limits: LogLimits;
    readonly tree: TreeBuilder;
    readonly published: PublishedLog;
  }) {
    this.publication = parts.publication;
    this.limits = parts.limits;
    this.tree = parts.tree;
    this.current = parts.published;
  }

  /**
   * Checks storage against every known checkpoint, signs a head that was left unsigned, and starts to take entries.
   * The log owns storage and witnesses from here on and closes them.
   *
   * @throws RefusalError `log-identity`, `log-checkpoint-missing`, `log-rolled-back`, `log-forked`, `log-damaged`,
   *   `log-storage-failed`, `log-signer-failed`, and those of `openCheckpoint` when the key is not that of this log
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
    let published: PublishedLog;
    if (checkpoint?.size === head.size) {
      await keeper.save(checkpoint.note);
      published = new PublishedLog(storage, checkpoint);
    } else {
      published = await publish(publication, head);
    }
    return new ReleaseLog({ publication, limits, tree, published });
  }

  /** The log as anybody may read it now. */
  get published(): PublishedLog {
    return this.current;
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
      if (this.stopped !== undefined) throw this.stopped;
      if (this.waiting.length >= this.limits.waitingEntries) {
        throw logRefusals.error('log-overloaded', {
          field: 'entries',
          expected: `fewer than ${this.limits.waitingEntries} waiting`,
          found: this.waiting.length.toString(),
        });
      }
      // The caller may use its buffer again before the batch is written.
      this.waiting.push({ entry: Uint8Array.from(entry), idempotencyKey, resolve, reject });
      this.draining ??= this.drain();
    });
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
      if (this.current.size < this.tree.size) await this.publishHead();
      else this.current = await republish(this.publication, this.current);
      for (const renewal of renewals) renewal.resolve();
    } catch (error) {
      for (const renewal of renewals) renewal.reject(error);
      if (!isSignerFailure(error)) this.stop(error);
    }
  }

  /** Never rejects: each entry gets its own answer. */
  private async commit(batch: readonly Waiting[]): Promise<void> {
    try {
      const { fresh, places } = await this.assign(batch);
      if (fresh.length > 0) await this.extend(fresh);
      if (this.current.size < this.tree.size) await this.publishHead();
      for (const { waiting, index, repeated } of places) {
        waiting.resolve(await this.receipt(index, repeated ? undefined : waiting.entry));
      }
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
      if (!isSignerFailure(error)) this.stop(error);
    }
  }

  private async assign(batch: readonly Waiting[]): Promise<Assignment> {
    const keys = batch.flatMap(({ idempotencyKey }) =>
      idempotencyKey === undefined ? [] : [idempotencyKey],
    );
    const known =
      keys.length === 0 ? new Map<string, bigint>() : await this.publication.storage.indexesOf(keys);
    const fresh: Waiting[] = [];
    const places = batch.map((waiting) => {
      const key = waiting.idempotencyKey;
      const first = key === undefined ? undefined : known.get(key);
      if (first !== undefined) return { waiting, index: first, repeated: true };
      const index = this.tree.size + BigInt(fresh.length);
      fresh.push(waiting);
      if (key !== undefined) known.set(key, index);
      return { waiting, index, repeated: false };
    });
    return { fresh, places };
  }

  private async extend(fresh: readonly Waiting[]): Promise<void> {
    const sizeBefore = this.tree.size;
    const nodes: TreeNode[] = [];
    for (const { entry } of fresh) nodes.push(...this.tree.append(entry));
    const head = { size: this.tree.size, root: this.tree.root() };
    await this.publication.storage.append({ sizeBefore, entries: fresh, nodes, head });
  }

  private async publishHead(): Promise<void> {
    const head = { size: this.tree.size, root: this.tree.root() };
    this.current = await publish(this.publication, head);
  }

  private async receipt(index: bigint, fresh: Uint8Array | undefined): Promise<AppendedEntry> {
    const published = this.current;
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

  /** The state of the disk is unknown after a failed write, so nothing is written to it again (TL-20). */
  private stop(cause: unknown): void {
    const reason = cause instanceof Error ? cause.message : 'an unknown failure';
    this.stopped = stoppedRefusal(reason, cause);
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

function isSignerFailure(error: unknown): boolean {
  return error instanceof RefusalError && (error as RefusalError).refusal.code === 'log-signer-failed';
}

function stoppedRefusal(reason: string, cause?: unknown): RefusalError {
  return logRefusals.error(
    'log-stopped',
    { field: 'log', expected: 'a running log', found: reason },
    { cause },
  );
}
