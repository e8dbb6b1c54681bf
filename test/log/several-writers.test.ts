/** Several writers of one log in PostgreSQL: each with connections of its own, as servers have. */

import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

import { fromUtf8, toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { parseCheckpointBody } from '../../src/log/checkpoint-body.ts';
import {
  fencePostgresLog,
  createPostgresStorage,
  openPostgresStorage,
} from '../../src/log/postgres-storage.ts';
import type { CheckpointKeeper, LogIdentity } from '../../src/log/publication.ts';
import { auditLog } from '../../src/log/reader.ts';
import { ReleaseLog } from '../../src/log/release-log.ts';
import { publishedSource } from '../../src/log/sources.ts';
import type { LogStorage } from '../../src/log/storage.ts';
import { verifyTlogProof } from '../../src/log/tlog-proof.ts';
import { CuttingProxy } from '../support/cutting-proxy.ts';
import { databaseOf, executeAt, postgresMissing, TestPostgres } from '../support/postgres.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { testSigner } from './test-signer.ts';

const signer = testSigner('log.example/evaluation');
const trust = { origin: signer.key.name, keys: [signer.key], witnesses: 'not-required' } as const;
const limits = { batchMilliseconds: 1, batchEntries: 4, waitingEntries: 1000 };

/** The zero that ends a message keeps it apart from `READ COMMITTED`. */
const COMMIT_MESSAGE = 'COMMIT\0';

/** What a server keeps outside the database, and every root that was signed, by size: more than one for a size is a fork. */
class Outside implements CheckpointKeeper {
  readonly signedRoots: Map<bigint, Set<string>>;
  readonly kept: string[] = [];

  constructor(signedRoots = new Map<bigint, Set<string>>()) {
    this.signedRoots = signedRoots;
  }

  get identity(): LogIdentity {
    const sign = (message: Uint8Array): Promise<Uint8Array> => {
      const { size, root } = parseCheckpointBody(fromUtf8(message, 'message'));
      this.signedRoots.set(size, (this.signedRoots.get(size) ?? new Set()).add(toBase64(root)));
      return signer.sign(message);
    };
    return { origin: trust.origin, signers: [{ key: signer.key, sign }] };
  }

  load(): Promise<string | undefined> {
    return Promise.resolve(this.kept.at(-1));
  }

  save(note: string): Promise<void> {
    this.kept.push(note);
    return Promise.resolve();
  }

  get sizes(): bigint[] {
    return this.kept.map((note) => BigInt(note.split('\n')[1]!));
  }
}

async function start(storage: LogStorage, outside: Outside): Promise<ReleaseLog> {
  const log = await ReleaseLog.start(storage, outside, outside.identity, limits);
  onTestFinished(() => log.close());
  return log;
}

describe.skipIf(postgresMissing)(`several writers ${postgresMissing ?? ''}`, () => {
  let cluster: TestPostgres;
  beforeAll(async () => {
    cluster = await TestPostgres.start();
  });
  afterAll(async () => {
    await cluster.remove();
  });

  /** A log of so many writers, the first of which began it. */
  async function writersOf(count: number, address: string) {
    const first = new Outside();
    const outsides = [first, ...Array.from({ length: count - 1 }, () => new Outside(first.signedRoots))];
    const logs = [await start(await createPostgresStorage(address), first)];
    for (const outside of outsides.slice(1)) {
      await outside.save(first.kept.at(-1)!);
      logs.push(await start(await openPostgresStorage(address), outside));
    }
    return { logs, outsides, first };
  }

  it.each([2, 8])(
    'TL-17, TL-18, TL-42, TL-46: %i writers at once leave no gap and no double',
    async (count) => {
      const { logs, outsides, first } = await writersOf(count, await cluster.createDatabase());
      const [own, common] = [8, 6];
      const appended = await Promise.all(
        logs.flatMap((log, writer) => [
          ...Array.from({ length: own }, (_, i) => log.append(toUtf8(`entry ${i} of ${writer}`))),
          ...Array.from({ length: common }, (_, i) =>
            log.append(toUtf8(`repeat ${i} by ${writer}`), { idempotencyKey: `key ${i}` }),
          ),
        ]),
      );
      const size = count * own + common;
      for (const { index, entry, proof } of appended) {
        expect((await verifyTlogProof(entry, proof, trust)).index).toBe(index);
      }
      const indexes = appended.map(({ index }) => Number(index));
      expect([...new Set(indexes)].sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, i) => i));
      expect(appended.filter(({ repeated }) => repeated)).toHaveLength((count - 1) * common);
      for (const roots of first.signedRoots.values()) expect(roots.size).toBe(1);
      for (const { sizes } of outsides) expect(sizes).toEqual(sizes.toSorted((a, b) => Number(a - b)));
      await logs[0]!.append(toUtf8('the last one'));
      await Promise.all(logs.map((log) => log.refresh()));
      for (const log of logs) expect(log.published.size).toBe(BigInt(size + 1));
      for (const { sizes } of outsides) expect(sizes.at(-1)).toBe(BigInt(size + 1));
      await auditLog(publishedSource(logs[1]!), trust, { minimumSize: BigInt(size + 1) }, () => undefined);
    },
    60_000,
  );

  it('TL-41: an entry is made after all that stand before it were told, whoever wrote them', async () => {
    const { logs } = await writersOf(3, await cluster.createDatabase());
    const known = logs.map(() => [] as string[]);
    for (const [writer, log] of logs.entries()) {
      const told = known[writer]!;
      let settled = 0;
      const follower = {
        follow: (entry: Uint8Array, index: bigint) => {
          expect(index).toBe(BigInt(told.length));
          told.push(fromUtf8(entry, 'entry'));
        },
        settle: () => {
          settled = told.length;
        },
        discard: () => {
          told.length = settled;
        },
      };
      await log.attach(follower, 0n);
    }
    const writes = Array.from({ length: 30 }, (_, i) => {
      const told = known[i % 3]!;
      return logs[i % 3]!.appendMade((index) => {
        expect(told).toHaveLength(Number(index));
        told.push(`${i} after ${told.length}`);
        return toUtf8(told.at(-1)!);
      });
    });
    const stopper = logs[0]!.appendMade(() => {
      throw new Error('nothing to log');
    });
    await expect(stopper).rejects.toThrow('nothing to log');
    await Promise.all(writes);
    await Promise.all(logs.map((log) => log.refresh()));
    expect(known[0]).toHaveLength(30);
    expect(known[1]).toEqual(known[0]);
    expect(known[2]).toEqual(known[0]);
  });

  it('TL-44: a batch whose commit nobody confirmed is found, and stands once', async () => {
    const address = await cluster.createDatabase();
    const { logs } = await writersOf(1, address);
    await logs[0]!.append(toUtf8('before'));
    const proxy = await CuttingProxy.start(cluster.folder);
    onTestFinished(() => proxy.close());
    const outside = new Outside();
    await outside.save(logs[0]!.published.checkpoint.note);
    const log = await start(await openPostgresStorage(proxy.addressOf(address)), outside);
    for (const text of [
      COMMIT_MESSAGE,
      'weightgate_log.nodes (level',
      'UPDATE weightgate_log.head',
      'FOR UPDATE',
    ]) {
      proxy.cutAfter(text);
      const [cut] = await Promise.all([log.append(toUtf8(text)), logs[0]!.append(toUtf8(`beside ${text}`))]);
      expect(fromUtf8(cut.entry, 'entry')).toBe(text);
    }
    expect(proxy.cuts).toBe(4);
    const [{ entries, size } = {}] = await executeAt(
      address,
      'SELECT count(DISTINCT entry) AS entries, max(size) AS size FROM weightgate_log.entries, weightgate_log.head',
    );
    expect([entries, size]).toEqual(['9', '9']);
  }, 60_000);

  it('TL-44: writers outlive a database that is killed and comes back', async () => {
    const { logs, first } = await writersOf(2, await cluster.createDatabase());
    const [one, other] = [logs[0]!, logs[1]!];
    await one.append(toUtf8('before'));
    await cluster.kill();
    const append = (log: ReleaseLog, text: string) => log.append(toUtf8(text), { idempotencyKey: text });
    const during = [append(one, 'during 1'), append(other, 'during 2')].map((appended) =>
      refusalCodeAsync(() => appended),
    );
    await cluster.run();
    // A database that needs longer than writers wait is reported, and nothing is lost or doubled when it is tried again.
    for (const code of await Promise.all(during)) expect(code).toMatch(/^(?:accepted|log-storage-failed)$/);
    const again = [await append(one, 'during 1'), await append(other, 'during 2')];
    expect(again.map(({ index }) => index).toSorted()).toEqual([1n, 2n]);
    expect((await one.append(toUtf8('after'))).index).toBe(3n);
    for (const roots of first.signedRoots.values()) expect(roots.size).toBe(1);
  }, 60_000);

  it('TL-23: an older backup is refused at start-up before anything is signed, by a running writer too', async () => {
    const address = await cluster.createDatabase();
    const { logs, first } = await writersOf(1, address);
    await logs[0]!.append(toUtf8('a'));
    await logs[0]!.close();
    const name = databaseOf(address);
    const backup = await cluster.createDatabase(name);
    const running = await start(await openPostgresStorage(address), first);
    await running.append(toUtf8('b'));
    const signed = new Set(first.signedRoots.keys());
    const storage = await openPostgresStorage(backup);
    expect(await refusalCodeAsync(() => ReleaseLog.start(storage, first, first.identity, limits))).toBe(
      'log-rolled-back',
    );
    await storage.close();
    // The database is exchanged below the writer.
    await cluster.exchange(name, databaseOf(backup));
    expect(await refusalCodeAsync(() => running.append(toUtf8('c')))).toBe('log-rolled-back');
    expect(await refusalCodeAsync(() => running.append(toUtf8('d')))).toBe('log-stopped');
    expect(new Set(first.signedRoots.keys())).toEqual(signed);
  });

  it('TL-43: a writer that was shut out stops; the one that opened the log afterwards goes on', async () => {
    const address = await cluster.createDatabase();
    const { logs, first } = await writersOf(1, address);
    await fencePostgresLog(address);
    const after = await start(await openPostgresStorage(address), first);
    await after.append(toUtf8('a'));
    expect(await refusalCodeAsync(() => logs[0]!.append(toUtf8('b')))).toBe('log-fenced');
    expect(await refusalCodeAsync(() => logs[0]!.refresh())).toBe('log-stopped');
    expect((await after.append(toUtf8('c'))).index).toBe(1n);
  });
});
