/**
 * The evidence store: what decisions were derived from besides the log, each content once under its SHA-256, in an SQLite
 * database of its own that may be handed to an auditor (docs/spec/replay.md, section 2). Nothing in it opens anything.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';

import { defineRefusals, isRefusal } from '../../attestation/core/refusal.ts';
import { createSchema, prepareForWriting, schemaIdentity } from '../log/sqlite-file.ts';
import { sha256Hex, type Digested } from './decision-inputs.ts';

export const evidenceStoreRefusals = defineRefusals('environment', {
  'evidence-store-not-opened': {
    means: 'The database with the inputs of decisions could not be opened.',
    hint: 'Check that the folder is the evidence store of a server, or a copy of it, and that this user may read it.',
  },
  'evidence-store-version': {
    means: 'The database with the inputs of decisions was made by another program or version.',
    hint: 'Use the version that made it.',
  },
  'evidence-store-damaged': {
    means: 'The database with the inputs of decisions cannot be read any more.',
    hint: 'Copy it again, or restore it from a backup; nothing was derived from what could not be read.',
  },
});

/** The one file of a store. */
export const EVIDENCE_DATABASE = 'evidence.sqlite';
/** "WGEV" */
const IDENTITY = { application: 0x5747_4556, version: 1 };

const SCHEMA = `
  CREATE TABLE contents (digest TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT;
  CREATE TABLE decisions (inputs TEXT PRIMARY KEY, decided_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX decisions_by_time ON decisions (decided_at);
  CREATE TABLE parts (inputs TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (inputs, digest)) STRICT, WITHOUT ROWID;
  CREATE INDEX parts_by_digest ON parts (digest);
  CREATE TABLE deletions (
    inputs TEXT PRIMARY KEY, decided_at INTEGER NOT NULL, deleted_at INTEGER NOT NULL, keep_days INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

const SQL = {
  insertContent: 'INSERT INTO contents VALUES (?, ?) ON CONFLICT (digest) DO NOTHING',
  insertDecision: 'INSERT INTO decisions VALUES (?, ?) ON CONFLICT (inputs) DO NOTHING',
  insertPart: 'INSERT INTO parts VALUES (?, ?) ON CONFLICT (inputs, digest) DO NOTHING',
  findContent: 'SELECT content FROM contents WHERE digest = ?',
  findDeletion:
    'SELECT decided_at AS decidedAt, deleted_at AS deletedAt, keep_days AS keepDays FROM deletions WHERE inputs = ?',
  findOld:
    'SELECT inputs, decided_at AS decidedAt FROM decisions WHERE decided_at < ? ORDER BY decided_at LIMIT ?',
  insertDeletion: 'INSERT OR REPLACE INTO deletions VALUES (?, ?, ?, ?)',
  deleteDecision: 'DELETE FROM decisions WHERE inputs = ?',
  deleteParts: 'DELETE FROM parts WHERE inputs = ? RETURNING digest',
  deleteContent:
    'DELETE FROM contents WHERE digest = ? AND NOT EXISTS (SELECT 1 FROM parts WHERE parts.digest = contents.digest)',
} as const;

const DAY_SECONDS = 86_400;
/** One decision makes room for itself and a little more: an old store shrinks without stopping the server. */
const DELETED_AT_ONCE = 8;

/** Everything that a decision was derived from. */
export interface KeptInputs {
  readonly inputs: Digested;
  readonly parts: readonly Digested[];
  /** POSIX seconds. */
  readonly decidedAt: number;
}

/** That the inputs of a decision were deleted because they had been kept for as long as they were to be (RD-9). */
export interface Deletion {
  /** POSIX seconds. */
  readonly decidedAt: number;
  readonly deletedAt: number;
  readonly keepDays: number;
}

/** One writer, or any number of readers, on one folder. */
export class EvidenceStore {
  private readonly database: DatabaseSync;
  /** Null to keep everything. */
  private readonly keepDays: number | null;
  private readonly prepared = new Map<keyof typeof SQL, StatementSync>();

  private constructor(database: DatabaseSync, keepDays: number | null) {
    this.database = database;
    this.keepDays = keepDays;
  }

  /**
   * Opens the store of a server, and makes it where there is none.
   *
   * @param folder exists already
   * @param keepDays how long inputs are kept after their decision, in days; null for ever
   * @throws RefusalError `evidence-store-not-opened`, `evidence-store-version`
   */
  static open(folder: string, keepDays: number | null): EvidenceStore {
    const path = join(folder, EVIDENCE_DATABASE);
    return connect(path, () => {
      const database = new DatabaseSync(path, { timeout: 1000 });
      try {
        prepareForWriting(database);
        if (schemaIdentity(database).version === 0) createSchema(database, SCHEMA, IDENTITY);
        requireIdentity(database, path);
        return new EvidenceStore(database, keepDays);
      } catch (error) {
        database.close();
        throw error;
      }
    });
  }

  /**
   * Opens a store for reading, also while its server writes, or a copy of it on a medium that cannot be written.
   *
   * @throws RefusalError `evidence-store-not-opened`, `evidence-store-version`
   */
  static read(folder: string): EvidenceStore {
    const path = join(folder, EVIDENCE_DATABASE);
    return connect(path, () => {
      const database = openForReading(path);
      try {
        requireIdentity(database, path);
        return new EvidenceStore(database, null);
      } catch (error) {
        database.close();
        throw error;
      }
    });
  }

  /** Keeps the inputs of a decision; on disk when it returns. Deletes what has been kept for long enough. */
  keep({ inputs, parts, decidedAt }: KeptInputs): void {
    this.inTransaction(() => {
      for (const { digest, bytes } of [inputs, ...parts]) {
        this.statement('insertContent').run(digest, bytes);
        this.statement('insertPart').run(inputs.digest, digest);
      }
      this.statement('insertDecision').run(inputs.digest, decidedAt);
      this.deleteOld(decidedAt);
    });
  }

  /**
   * @param digest lower-case hex SHA-256
   * @returns undefined also for a content that is not that of its digest
   * @throws RefusalError `evidence-store-damaged`
   */
  find(digest: string): Uint8Array | undefined {
    const content = readRow(() => this.statement('findContent').get(digest))?.['content'];
    return content instanceof Uint8Array && sha256Hex(content) === digest ? content : undefined;
  }

  /** @throws RefusalError `evidence-store-damaged` */
  findDeletion(inputsDigest: string): Deletion | undefined {
    const row = readRow(() => this.statement('findDeletion').get(inputsDigest));
    if (row === undefined) return undefined;
    const { decidedAt, deletedAt, keepDays } = row;
    return { decidedAt: Number(decidedAt), deletedAt: Number(deletedAt), keepDays: Number(keepDays) };
  }

  close(): void {
    this.database.close();
  }

  private deleteOld(now: number): void {
    const { keepDays } = this;
    if (keepDays === null) return;
    const old = this.statement('findOld').all(now - keepDays * DAY_SECONDS, DELETED_AT_ONCE);
    for (const { inputs, decidedAt } of old) {
      const digest = String(inputs);
      this.statement('insertDeletion').run(digest, Number(decidedAt), now, keepDays);
      this.statement('deleteDecision').run(digest);
      const parts = this.statement('deleteParts').all(digest);
      for (const part of parts) this.statement('deleteContent').run(String(part['digest']));
    }
  }

  private statement(name: keyof typeof SQL): StatementSync {
    const known = this.prepared.get(name) ?? this.database.prepare(SQL[name]);
    this.prepared.set(name, known);
    return known;
  }

  private inTransaction(change: () => void): void {
    this.database.exec('BEGIN IMMEDIATE');
    try {
      change();
      this.database.exec('COMMIT');
    } catch (cause) {
      if (this.database.isTransaction) this.database.exec('ROLLBACK');
      throw cause;
    }
  }
}

function connect(path: string, open: () => EvidenceStore): EvidenceStore {
  try {
    return open();
  } catch (cause) {
    if (isRefusal(cause)) throw cause;
    const found = cause instanceof Error ? cause.message : 'another failure';
    const facts = { field: path, expected: 'an evidence store', found };
    throw evidenceStoreRefusals.error('evidence-store-not-opened', facts, { cause });
  }
}

/** A store may come from anybody. */
function readRow<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : 'another failure';
    const facts = { field: 'evidence store', expected: 'rows that can be read', found };
    throw evidenceStoreRefusals.error('evidence-store-damaged', facts, { cause });
  }
}

/** SQLite wants to write beside a database even to read it; where it cannot, nobody else can either. */
function openForReading(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
  try {
    schemaIdentity(database);
    return database;
  } catch (cause) {
    database.close();
    if (!existsSync(path) || existsSync(`${path}-wal`)) throw cause;
    const location = pathToFileURL(path);
    location.searchParams.set('immutable', '1');
    return new DatabaseSync(location, { readOnly: true });
  }
}

function requireIdentity(database: DatabaseSync, path: string): void {
  const { application, version } = schemaIdentity(database);
  if (application === IDENTITY.application && version === IDENTITY.version) return;
  throw evidenceStoreRefusals.error('evidence-store-version', {
    field: path,
    expected: `an evidence store of version ${IDENTITY.version}`,
    found: `application ${application}, version ${version}`,
  });
}
