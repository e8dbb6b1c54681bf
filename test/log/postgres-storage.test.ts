import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { RefusalError } from '../../attestation/core/refusal.ts';
import {
  createPostgresStorage,
  fencePostgresLog,
  openPostgresStorage,
} from '../../src/log/postgres-storage.ts';
import { TreeBuilder } from '../../src/log/tree.ts';
import { databaseOf, executeAt, postgresMissing, TestPostgres } from '../support/postgres.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { batchOf, storageContract } from './storage-contract.ts';

const one = (text: string) => [{ entry: toUtf8(text) }];

describe.skipIf(postgresMissing)(`PostgreSQL storage ${postgresMissing ?? ''}`, () => {
  let cluster: TestPostgres;
  beforeAll(async () => {
    cluster = await TestPostgres.start();
  });
  afterAll(async () => {
    await cluster.remove();
  });

  storageContract(async () => createPostgresStorage(await cluster.createDatabase()));

  it('TL-22: refuses to open what is not there, and to create what is', async () => {
    const address = await cluster.createDatabase();
    expect(await refusalCodeAsync(() => openPostgresStorage(address))).toBe('log-missing');
    expect(await refusalCodeAsync(() => fencePostgresLog(address))).toBe('log-missing');
    await (await createPostgresStorage(address)).close();
    expect(await refusalCodeAsync(() => createPostgresStorage(address))).toBe('log-exists');
    await (await openPostgresStorage(address)).close();
  });

  it('TL-22: refuses a schema of another version', async () => {
    const address = await cluster.createDatabase();
    await (await createPostgresStorage(address)).close();
    await executeAt(address, 'UPDATE weightgate_log.format SET version = 2');
    expect(await refusalCodeAsync(() => openPostgresStorage(address))).toBe('log-storage-version');
  });

  it('TL-17: nobody who goes through SQL changes or deletes an entry or a node by mistake', async () => {
    const address = await cluster.createDatabase();
    const storage = await createPostgresStorage(address);
    await storage.append(batchOf(new TreeBuilder(), one('a')));
    await storage.close();
    for (const sql of [
      `UPDATE weightgate_log.entries SET entry = '\\x00'`,
      'DELETE FROM weightgate_log.entries',
      'TRUNCATE weightgate_log.entries',
      'UPDATE weightgate_log.nodes SET level = 1',
      'DELETE FROM weightgate_log.nodes',
      'TRUNCATE weightgate_log.nodes',
      'UPDATE weightgate_log.head SET size = 0',
      'UPDATE weightgate_log.head SET size = 5, epoch = epoch + 1',
      'UPDATE weightgate_log.head SET epoch = epoch - 1',
      'DELETE FROM weightgate_log.head',
    ]) {
      await expect(executeAt(address, sql), sql).rejects.toThrow(/never changed|only grows/);
    }
  });

  it('TL-43: a server that was shut out neither reads the head, takes a turn, appends nor keeps a checkpoint', async () => {
    const address = await cluster.createDatabase();
    const before = await createPostgresStorage(address);
    await fencePostgresLog(address);
    const after = await openPostgresStorage(address);
    const batch = batchOf(new TreeBuilder(), one('a'));
    for (const use of [
      () => before.head(),
      () => before.inTurn('publish', () => Promise.resolve()),
      () => before.append(batch),
      () => before.saveCheckpoint(0n, 'note'),
    ]) {
      expect(await refusalCodeAsync(use)).toBe('log-fenced');
    }
    await after.append(batch);
    expect(await after.newestCheckpoint()).toBeUndefined();
    await Promise.all([before.close(), after.close()]);
  });

  it('TL-42: two who append at once get one index after the other, or are told that the head moved', async () => {
    const address = await cluster.createDatabase();
    const [first, second] = [await createPostgresStorage(address), await openPostgresStorage(address)];
    const results = await Promise.all(
      [first, second].map((storage, i) =>
        refusalCodeAsync(() => storage.append(batchOf(new TreeBuilder(), one(`from ${i}`)))),
      ),
    );
    expect(results.toSorted()).toEqual(['accepted', 'log-head-moved']);
    expect((await first.head()).size).toBe(1n);
    await Promise.all([first.close(), second.close()]);
  });

  it('TL-40: turns of one kind come one after the other, turns of two kinds do not wait for each other', async () => {
    const address = await cluster.createDatabase();
    const [first, second] = [await createPostgresStorage(address), await openPostgresStorage(address)];
    const order: string[] = [];
    let leave: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      leave = resolve;
    });
    const holder = first.inTurn('extend', async () => {
      order.push('first begins');
      await held;
      order.push('first ends');
    });
    await expect.poll(() => order).toEqual(['first begins']);
    const waiter = second.inTurn('extend', () => Promise.resolve(order.push('second')));
    await second.inTurn('publish', () => Promise.resolve(order.push('other turn')));
    leave();
    await Promise.all([holder, waiter]);
    expect(order).toEqual(['first begins', 'other turn', 'first ends', 'second']);
    await Promise.all([first.close(), second.close()]);
  });

  it.each([
    ['before anything was written', "state = 'idle'"],
    ['while it waits', "state <> 'idle'"],
  ])('TL-44: connections that are cut %s are made anew, and the batch stands once', async (_when, which) => {
    const address = await cluster.createDatabase();
    const storage = await createPostgresStorage(address);
    const tree = new TreeBuilder();
    await storage.append(batchOf(tree, one('a')));
    const blocker = await openPostgresStorage(address);
    const database = databaseOf(address);
    const cut = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = '${database}' AND pid <> pg_backend_pid() AND ${which}`;
    const batch = batchOf(tree, one('b'));
    const appended = storage.append(batch);
    await executeAt(address, cut);
    await appended;
    expect(await storage.head()).toEqual(batch.head);
    expect(await refusalCodeAsync(() => storage.append(batch))).toBe('log-head-moved');
    await Promise.all([storage.close(), blocker.close()]);
  });

  it('TL-45: a password is in no refusal', async () => {
    const address = await cluster.createDatabase();
    const secret = 'correct-horse';
    for (const connection of [
      address.replace('postgres@', `nobody:${secret}@`),
      `postgresql://u:${secret}@[broken/log`,
      `mysql://u:${secret}@localhost/log`,
      `postgresql://u:${secret}@db.example/log`,
      `postgresql://u:${secret}@db.example/log?sslmode=no-verify`,
    ]) {
      const error: unknown = await openPostgresStorage(connection).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(RefusalError);
      const { refusal, message, cause } = error as RefusalError;
      expect(JSON.stringify([refusal, message, String(cause), cause])).not.toContain(secret);
    }
  });
});
