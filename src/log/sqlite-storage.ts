/**
 * The log in one SQLite database (`node:sqlite`), for a single server.
 *
 * Durability and the one writer are those of sqlite-file.ts. Triggers refuse to change or delete what was written: they stop mistakes,
 * not whoever owns the database (docs/spec/release-log.md, section 5).
 */

import { existsSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';

import { RefusalError } from '../../attestation/core/refusal.ts';
import type { TreeHead } from './checkpoint-body.ts';
import { EMPTY_ROOT } from './merkle.ts';
import {
  createSchema,
  prepareForWriting,
  schemaIdentity,
  tryLock,
  type SchemaIdentity,
} from './sqlite-file.ts';
import {
  storageConflictRefusals,
  storageRefusals,
  type LogStorage,
  type StoredBatch,
  type WriterTurn,
} from './storage.ts';
import type { NodeId } from './tree.ts';

const IDENTITY: SchemaIdentity = { application: 0x5747_4c47, version: 1 };

const SCHEMA = `
  CREATE TABLE entries (
    position INTEGER PRIMARY KEY,
    entry BLOB NOT NULL CHECK (length(entry) BETWEEN 1 AND 65535),
    idempotency_key TEXT UNIQUE
  ) STRICT;
  CREATE TABLE nodes (
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, position)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE head (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    size INTEGER NOT NULL,
    root BLOB NOT NULL
  ) STRICT;
  CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;

  CREATE TRIGGER entries_stay_unchanged BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
  CREATE TRIGGER entries_stay BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
  CREATE TRIGGER nodes_stay_unchanged BEFORE UPDATE ON nodes
    BEGIN SELECT RAISE(ABORT, 'nodes are never changed'); END;
  CREATE TRIGGER nodes_stay BEFORE DELETE ON nodes
    BEGIN SELECT RAISE(ABORT, 'nodes are never deleted'); END;
  CREATE TRIGGER head_grows BEFORE UPDATE ON head WHEN NEW.size <= OLD.size
    BEGIN SELECT RAISE(ABORT, 'the head only grows'); END;
`;

/** Creates the database of a new, empty log and opens it for writing. @throws RefusalError `log-exists` */
export function createSqliteStorage(path: string): LogStorage {
  const lock = lockForWriting(path);
  try {
    const database = new DatabaseSync(path);
    prepareForWriting(database);
    if (schemaIdentity(database).version !== 0) refuseExisting(path);
    createSchema(database, SCHEMA, IDENTITY, () => {
      database.prepare('INSERT INTO head (only, size, root) VALUES (1, 0, ?)').run(EMPTY_ROOT);
    });
    return new SqliteStorage(database, lock);
  } catch (cause) {
    lock.close();
    throw asRefusal(cause, path);
  }
}

/**
 * Opens the database of an existing log for writing.
 *
 * @throws RefusalError `log-missing`, `log-locked`, `log-storage-version`, `log-storage-failed`
 */
export function openSqliteStorage(path: string): LogStorage {
  refuseMissing(path);
  const lock = lockForWriting(path);
  try {
    const database = new DatabaseSync(path);
    checkVersion(database, path);
    prepareForWriting(database);
    return new SqliteStorage(database, lock);
  } catch (cause) {
    lock.close();
    throw asRefusal(cause, path);
  }
}

/** Opens the database of a log for reading, also while its server writes. @throws RefusalError as above */
export function readSqliteStorage(path: string): LogStorage {
  refuseMissing(path);
  try {
    const database = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
    checkVersion(database, path);
    return new SqliteStorage(database, undefined);
  } catch (cause) {
    throw asRefusal(cause, path);
  }
}

function refuseExisting(path: string): never {
  throw storageRefusals.error('log-exists', { field: path, expected: 'no log', found: 'a log' });
}

function refuseMissing(path: string): void {
  if (existsSync(path)) return;
  throw storageRefusals.error('log-missing', {
    field: path,
    expected: 'the database of a log',
    found: 'nothing',
  });
}

function lockForWriting(path: string): DatabaseSync {
  const lock = lockOf(`${path}.lock`);
  if (lock !== undefined) return lock;
  const found = 'one that holds the lock';
  throw storageRefusals.error('log-locked', { field: path, expected: 'no other writer', found });
}

function lockOf(path: string): DatabaseSync | undefined {
  try {
    return tryLock(path);
  } catch (cause) {
    throw asRefusal(cause, path);
  }
}

function checkVersion(database: DatabaseSync, path: string): void {
  const { application, version } = schemaIdentity(database);
  if (application === IDENTITY.application && version === IDENTITY.version) return;
  database.close();
  throw storageRefusals.error('log-storage-version', {
    field: path,
    expected: `a log of version ${IDENTITY.version}`,
    found: `application ${application}, version ${version}`,
  });
}

/** What SQLite and the file system throw is about this machine; what is a refusal already passes. */
function asRefusal(cause: unknown, field: string): RefusalError {
  if (cause instanceof RefusalError) return cause as RefusalError;
  const found = cause instanceof Error ? cause.message : 'an unknown error';
  return storageRefusals.error(
    'log-storage-failed',
    { field, expected: 'a working database', found },
    { cause },
  );
}

function settle<T>(field: string, work: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    try {
      resolve(work());
    } catch (cause) {
      reject(asRefusal(cause, field));
    }
  });
}

/** Rows come as bigint where they hold integers: indexes have 64 bits. */
class SqliteStorage implements LogStorage {
  readonly shared = false;
  private readonly database: DatabaseSync;
  private readonly lock: DatabaseSync | undefined;
  private readonly prepared = new Map<string, StatementSync>();

  constructor(database: DatabaseSync, lock: DatabaseSync | undefined) {
    this.database = database;
    this.lock = lock;
  }

  head(): Promise<TreeHead> {
    return settle('head', () => this.readHead());
  }

  /** The lock file leaves one writer, whose turn it always is. */
  inTurn<T>(_turn: WriterTurn, work: () => Promise<T>): Promise<T> {
    return work();
  }

  append(batch: StoredBatch): Promise<void> {
    return settle('entries', () => {
      this.database.exec('BEGIN IMMEDIATE');
      try {
        this.write(batch);
        this.database.exec('COMMIT');
      } catch (error) {
        if (this.database.isTransaction) this.database.exec('ROLLBACK');
        throw error;
      }
    });
  }

  nodes(ids: readonly NodeId[]): Promise<readonly Uint8Array[]> {
    return settle('nodes', () => {
      const statement = this.statement('SELECT hash FROM nodes WHERE level = ? AND position = ?');
      return ids.map(({ level, index }) =>
        blobOf(statement.get(level, index)?.['hash'], `node ${level}/${index}`),
      );
    });
  }

  entries(start: bigint, end: bigint): Promise<readonly Uint8Array[]> {
    return settle('entries', () => {
      const statement = this.statement(
        'SELECT entry FROM entries WHERE position >= ? AND position < ? ORDER BY position',
      );
      const rows = statement.all(start, end);
      if (BigInt(rows.length) !== end - start)
        refuseDamaged(`entries ${start} to ${end}`, `${rows.length} entries`);
      return rows.map((row, i) => blobOf(row['entry'], `entry ${start + BigInt(i)}`));
    });
  }

  indexesOf(idempotencyKeys: readonly string[]): Promise<Map<string, bigint>> {
    return settle('idempotency keys', () => {
      const statement = this.statement('SELECT position FROM entries WHERE idempotency_key = ?');
      const found = new Map<string, bigint>();
      for (const key of idempotencyKeys) {
        const position = statement.get(key)?.['position'];
        if (typeof position === 'bigint') found.set(key, position);
      }
      return found;
    });
  }

  saveCheckpoint(size: bigint, note: string): Promise<void> {
    return settle('checkpoints', () => {
      // A checkpoint of the same size is signed anew after a restart; its root is the same, because the head only grows.
      this.statement(
        'INSERT INTO checkpoints (size, note) VALUES (?, ?) ON CONFLICT (size) DO UPDATE SET note = excluded.note',
      ).run(size, note);
    });
  }

  newestCheckpoint(): Promise<string | undefined> {
    return settle('checkpoints', () => {
      const row = this.statement('SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1').get();
      return typeof row?.['note'] === 'string' ? row['note'] : undefined;
    });
  }

  close(): Promise<void> {
    return settle('database', () => {
      this.prepared.clear();
      this.database.close();
      this.lock?.close();
    });
  }

  private write(batch: StoredBatch): void {
    const { size } = this.readHead();
    // The lock file can be deleted by hand, so the head is compared once more in the transaction that moves it.
    if (size !== batch.sizeBefore) {
      throw storageConflictRefusals.error('log-head-moved', {
        field: 'head.size',
        expected: batch.sizeBefore.toString(),
        found: size.toString(),
      });
    }
    const entry = this.statement('INSERT INTO entries (position, entry, idempotency_key) VALUES (?, ?, ?)');
    batch.entries.forEach((each, i) => {
      entry.run(size + BigInt(i), each.entry, each.idempotencyKey ?? null);
    });
    const node = this.statement('INSERT INTO nodes (level, position, hash) VALUES (?, ?, ?)');
    for (const { level, index, hash } of batch.nodes) node.run(level, index, hash);
    this.statement('UPDATE head SET size = ?, root = ?').run(batch.head.size, batch.head.root);
  }

  private readHead(): TreeHead {
    const row = this.statement('SELECT size, root FROM head').get();
    const size = row?.['size'];
    if (typeof size !== 'bigint') refuseDamaged('head', 'nothing');
    return { size, root: blobOf(row?.['root'], 'head') };
  }

  private statement(sql: string): StatementSync {
    const existing = this.prepared.get(sql);
    if (existing !== undefined) return existing;
    const statement = this.database.prepare(sql);
    statement.setReadBigInts(true);
    this.prepared.set(sql, statement);
    return statement;
  }
}

function blobOf(value: unknown, field: string): Uint8Array {
  if (value instanceof Uint8Array) return value;
  refuseDamaged(field, value === undefined ? 'nothing' : typeof value);
}

function refuseDamaged(field: string, found: string): never {
  throw storageRefusals.error('log-damaged', { field, expected: 'bytes', found });
}
