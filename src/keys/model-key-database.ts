/**
 * The database of wrapped model keys: which custody wrapped each, which wrapping keys may wrap no more, and what became
 * of the wrapping keys (docs/spec/key-custody.md section 10). Several processes have it open.
 */

import { open } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';

import { keyUseRefusals } from './refusals.ts';

const OWNER_ONLY = 0o600;
const SCHEMA_VERSION = 1;

const FIRST_SCHEMA = `
  CREATE TABLE IF NOT EXISTS model_keys (
    manifest_digest TEXT PRIMARY KEY NOT NULL,
    wrapped BLOB NOT NULL
  ) STRICT, WITHOUT ROWID`;

/** The custody of rows of before is the only one there was. */
const SECOND_SCHEMA = `
  ALTER TABLE model_keys ADD COLUMN custody INTEGER NOT NULL DEFAULT 1;
  CREATE TABLE ended_wrapping_keys (
    custody INTEGER NOT NULL,
    wrapping_key TEXT NOT NULL,
    PRIMARY KEY (custody, wrapping_key)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE ended_custodies (custody INTEGER PRIMARY KEY) STRICT;
  CREATE TABLE custody_events (sequence INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT;
  PRAGMA user_version = ${SCHEMA_VERSION}`;

/** A stored key as it lies there. */
export interface StoredKey {
  /** Lower-case hexadecimal. */
  readonly manifestDigest: string;
  readonly custody: number;
  readonly wrapped: Uint8Array;
}

/** Under what a key is wrapped. */
export interface WrappingKeyName {
  readonly custody: number;
  readonly wrappingKey: string;
}

export type Insertion = 'stored' | 'exists' | 'ended';

export class ModelKeyDatabase {
  private readonly path: string;
  private readonly database: DatabaseSync;

  private constructor(path: string, database: DatabaseSync) {
    this.path = path;
    this.database = database;
  }

  /** Opens the file, or makes it. @throws RefusalError `key-store-failed` */
  static async open(path: string): Promise<ModelKeyDatabase> {
    try {
      // SQLite gives its journal files the mode of the database file, so that is made first and for the owner alone.
      const file = await open(path, 'a', OWNER_ONLY);
      await file.close();
      const database = new DatabaseSync(path);
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000');
      const store = new ModelKeyDatabase(path, database);
      store.transaction(() => {
        store.bringUpToDate();
      });
      return store;
    } catch (cause) {
      throw storeFailed(path, cause);
    }
  }

  /** @throws RefusalError `key-store-failed` */
  find(manifestDigest: string): StoredKey | undefined {
    return this.guarded(() => {
      const row = this.database
        .prepare('SELECT manifest_digest, custody, wrapped FROM model_keys WHERE manifest_digest = ?')
        .get(manifestDigest);
      return row === undefined ? undefined : storedKey(row);
    });
  }

  /** @throws RefusalError `key-store-failed` */
  all(): readonly StoredKey[] {
    return this.guarded(() =>
      this.database.prepare('SELECT manifest_digest, custody, wrapped FROM model_keys').all().map(storedKey),
    );
  }

  /** Stores a new key, unless what it is wrapped under has ended meanwhile (KC-82). */
  insert({ manifestDigest, custody, wrapped }: StoredKey, wrappingKey: string): Insertion {
    return this.transaction(() => {
      if (this.hasEnded({ custody, wrappingKey })) return 'ended';
      const { changes } = this.database
        .prepare(
          'INSERT INTO model_keys (manifest_digest, custody, wrapped) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
        )
        .run(manifestDigest, custody, wrapped);
      return changes === 0 ? 'exists' : 'stored';
    });
  }

  /** Puts the same key under another wrapping key, unless somebody has changed the row since (KC-83). */
  replace(before: StoredKey, after: StoredKey, wrappingKey: string): boolean {
    return this.transaction(() => {
      if (this.hasEnded({ custody: after.custody, wrappingKey })) return false;
      const { changes } = this.database
        .prepare('UPDATE model_keys SET wrapped = ?, custody = ? WHERE manifest_digest = ? AND wrapped = ?')
        .run(after.wrapped, after.custody, before.manifestDigest, before.wrapped);
      return changes === 1;
    });
  }

  delete(manifestDigest: string): void {
    this.guarded(() => {
      this.database.prepare('DELETE FROM model_keys WHERE manifest_digest = ?').run(manifestDigest);
    });
  }

  /** From now on nothing is stored under these. Call it within a transaction that has seen that nothing is. */
  endWrappingKey({ custody, wrappingKey }: WrappingKeyName): void {
    this.database
      .prepare('INSERT INTO ended_wrapping_keys (custody, wrapping_key) VALUES (?, ?) ON CONFLICT DO NOTHING')
      .run(custody, wrappingKey);
  }

  /** As `endWrappingKey`, for all wrapping keys of a custody. */
  endCustody(custody: number): void {
    this.database
      .prepare('INSERT INTO ended_custodies (custody) VALUES (?) ON CONFLICT DO NOTHING')
      .run(custody);
  }

  /** What became of the wrapping keys, in order. */
  events(): readonly string[] {
    return this.guarded(() =>
      this.database
        .prepare('SELECT event FROM custody_events ORDER BY sequence')
        .all()
        .map(({ event }) => String(event)),
    );
  }

  /** Call it within a transaction. */
  addEvent(sequence: number, event: string): void {
    this.database.prepare('INSERT INTO custody_events (sequence, event) VALUES (?, ?)').run(sequence, event);
  }

  /** Runs work with the database locked for writing. @throws RefusalError `key-store-failed`, and those of `work` */
  transaction<T>(work: () => T): T {
    this.guarded(() => {
      this.database.exec('BEGIN IMMEDIATE');
    });
    try {
      const result = work();
      this.guarded(() => {
        this.database.exec('COMMIT');
      });
      return result;
    } catch (error) {
      if (this.database.isTransaction) this.database.exec('ROLLBACK');
      throw error instanceof Error && error.name === 'RefusalError' ? error : storeFailed(this.path, error);
    }
  }

  close(): void {
    this.database.close();
  }

  private hasEnded({ custody, wrappingKey }: WrappingKeyName): boolean {
    const row = this.database
      .prepare(
        `SELECT 1 FROM ended_custodies WHERE custody = ?
         UNION ALL SELECT 1 FROM ended_wrapping_keys WHERE custody = ? AND wrapping_key = ?`,
      )
      .get(custody, custody, wrappingKey);
    return row !== undefined;
  }

  private bringUpToDate(): void {
    const version = this.database.prepare('PRAGMA user_version').get()?.['user_version'];
    if (version === SCHEMA_VERSION) return;
    if (version !== 0) throw new Error(`version ${String(version)} of a newer release`);
    this.database.exec(FIRST_SCHEMA);
    this.database.exec(SECOND_SCHEMA);
  }

  private guarded<T>(use: () => T): T {
    try {
      return use();
    } catch (cause) {
      throw storeFailed(this.path, cause);
    }
  }
}

function storedKey(row: Record<string, unknown>): StoredKey {
  const { manifest_digest: manifestDigest, custody, wrapped } = row;
  if (typeof manifestDigest === 'string' && typeof custody === 'number' && wrapped instanceof Uint8Array) {
    return { manifestDigest, custody, wrapped };
  }
  throw new TypeError('a row of another shape');
}

function storeFailed(path: string, cause: unknown) {
  const found = cause instanceof Error ? cause.message : 'an error';
  const facts = { field: path, expected: 'a usable SQLite file', found };
  return keyUseRefusals.error('key-store-failed', facts, { cause });
}
