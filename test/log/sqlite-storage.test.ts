import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { afterAll, describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { createSqliteStorage, openSqliteStorage, readSqliteStorage } from '../../src/log/sqlite-storage.ts';
import { TreeBuilder } from '../../src/log/tree.ts';
import { refusalCode } from '../support/refusal-code.ts';
import { batchOf, storageContract } from './storage-contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'weightgate-storage-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let count = 0;
const newPath = (): string => join(folder, `log-${(count += 1)}.sqlite`);

describe('SQLite storage', () => {
  storageContract(() => Promise.resolve(createSqliteStorage(newPath())));

  it('TL-22: refuses to open what is not there, and to create what is', async () => {
    const path = newPath();
    expect(refusalCode(() => openSqliteStorage(path))).toBe('log-missing');
    expect(refusalCode(() => readSqliteStorage(path))).toBe('log-missing');
    const storage = createSqliteStorage(path);
    await storage.close();
    expect(refusalCode(() => createSqliteStorage(path))).toBe('log-exists');
  });

  it('TL-19: refuses a second writer while the first lives, and lets readers in', async () => {
    const path = newPath();
    const first = createSqliteStorage(path);
    expect(refusalCode(() => openSqliteStorage(path))).toBe('log-locked');
    expect(refusalCode(() => createSqliteStorage(path))).toBe('log-locked');
    const reader = readSqliteStorage(path);
    const batch = batchOf(new TreeBuilder(), [{ entry: toUtf8('a') }]);
    await first.append(batch);
    expect(await reader.head()).toEqual(batch.head);
    await reader.close();
    await first.close();
    const second = openSqliteStorage(path);
    expect(await second.head()).toEqual(batch.head);
    await second.close();
  });

  it('TL-22: refuses a database of another kind, and a file that is none', () => {
    const foreign = newPath();
    new DatabaseSync(foreign).exec('CREATE TABLE t (x); PRAGMA user_version = 1');
    expect(refusalCode(() => openSqliteStorage(foreign))).toBe('log-storage-version');
    const text = newPath();
    writeFileSync(text, 'not a database, but long enough to be read as the header of one'.repeat(20));
    expect(refusalCode(() => openSqliteStorage(text))).toBe('log-storage-failed');
    expect(refusalCode(() => createSqliteStorage(join(folder, 'no', 'such', 'folder')))).toBe(
      'log-storage-failed',
    );
  });

  it('TL-17: nobody who goes through SQL changes or deletes an entry or a node by mistake', async () => {
    const path = newPath();
    const storage = createSqliteStorage(path);
    await storage.append(batchOf(new TreeBuilder(), [{ entry: toUtf8('a') }]));
    await storage.close();
    const database = new DatabaseSync(path);
    for (const sql of [
      `UPDATE entries SET entry = x'00'`,
      'DELETE FROM entries',
      'UPDATE nodes SET hash = zeroblob(32)',
      'DELETE FROM nodes',
      'UPDATE head SET size = 0',
    ]) {
      expect(() => {
        database.exec(sql);
      }).toThrow(/never|only grows/);
    }
    database.close();
  });
});
