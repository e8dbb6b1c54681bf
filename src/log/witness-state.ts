/**
 * What a witness remembers, in one SQLite database (WT-11, WT-13). A witness that forgot, or went back, would sign a second
 * history: so a missing database is refused, sizes only grow, and a root never changes at its size. Triggers stop
 * mistakes, not whoever owns the database, who could as well restore an older copy of it.
 */

import { existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

import { excerpt } from '../../attestation/core/bytes.ts';
import { bigEndian, decode, encode } from '../../attestation/core/layout.ts';
import { defineRefusals, isRefusal, type RefusalError } from '../../attestation/core/refusal.ts';
import {
  createSchema,
  prepareForWriting,
  schemaIdentity,
  tryLock,
  type SchemaIdentity,
} from './sqlite-file.ts';
import type { WitnessRecord, WitnessState } from './witness.ts';

export const witnessStateRefusals = defineRefusals('environment', {
  'witness-state-missing': {
    means: 'There is no state of a witness where one is expected.',
    hint: 'Check the path. If the state was lost, retire the key of this witness and begin another one.',
  },
  'witness-state-exists': {
    means: 'The state of a witness would be made where one is already.',
    hint: 'Nothing was changed. Open the one that is there, or choose another folder.',
  },
  'witness-state-locked': {
    means: 'Another process writes to the state of this witness.',
    hint: 'Stop the other one first; one process runs a witness.',
  },
  'witness-state-failed': {
    means: 'The state of a witness could not be read or written.',
    hint: 'Check free space, permissions and the disk, then start the witness again.',
  },
  'witness-state-moved': {
    means: 'The record of a log is not the one that was just judged.',
    hint: 'Find the second witness that uses this database and stop it; then start this one again.',
  },
});

const IDENTITY: SchemaIdentity = { application: 0x5747_5749, version: 1 };

/** Sizes have 64 bits without sign: as big-endian bytes SQLite compares them rightly. */
const SCHEMA = `
  CREATE TABLE records (
    origin TEXT PRIMARY KEY,
    size BLOB NOT NULL CHECK (length(size) = 8),
    root BLOB NOT NULL CHECK (length(root) = 32),
    note TEXT NOT NULL,
    time BLOB NOT NULL CHECK (length(time) = 8)
  ) STRICT, WITHOUT ROWID;

  CREATE TRIGGER records_stay BEFORE DELETE ON records
    BEGIN SELECT RAISE(ABORT, 'records are never deleted'); END;
  CREATE TRIGGER records_grow BEFORE UPDATE ON records
    WHEN NEW.origin <> OLD.origin OR NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root)
    BEGIN SELECT RAISE(ABORT, 'records only grow'); END;
`;

const u64 = bigEndian.u64();

/** Makes the empty state of a new witness. @throws RefusalError `witness-state-exists`, `witness-state-failed` */
export function createWitnessState(path: string): void {
  withLock(path, (lock) => {
    try {
      const database = new DatabaseSync(path);
      prepareForWriting(database);
      const isNew = schemaIdentity(database).version === 0;
      if (isNew) createSchema(database, SCHEMA, IDENTITY);
      database.close();
      if (!isNew) refuse('witness-state-exists', path, 'no state', 'one');
    } finally {
      lock.close();
    }
  });
}

/**
 * Opens the state of a witness; nobody else can while it is open.
 *
 * @throws RefusalError `witness-state-missing`, `witness-state-locked`, `witness-state-failed`
 */
export function openWitnessState(path: string): SqliteWitnessState {
  if (!existsSync(path)) refuse('witness-state-missing', path, 'the state of a witness', 'nothing');
  return withLock(path, (lock) => {
    try {
      const database = new DatabaseSync(path);
      const { application, version } = schemaIdentity(database);
      if (application !== IDENTITY.application || version !== IDENTITY.version) {
        database.close();
        const found = `application ${application}, version ${version}`;
        refuse('witness-state-missing', path, `the state of a witness of version ${IDENTITY.version}`, found);
      }
      prepareForWriting(database);
      return new SqliteWitnessState(database, lock, path);
    } catch (error) {
      lock.close();
      throw error;
    }
  });
}

export class SqliteWitnessState implements WitnessState {
  private readonly database: DatabaseSync;
  private readonly lock: DatabaseSync;
  private readonly path: string;

  constructor(database: DatabaseSync, lock: DatabaseSync, path: string) {
    this.database = database;
    this.lock = lock;
    this.path = path;
  }

  find(origin: string): WitnessRecord | undefined {
    return guarded(this.path, () => this.read(origin));
  }

  advance(origin: string, sizeBefore: bigint | undefined, record: WitnessRecord): void {
    guarded(this.path, () => {
      this.database.exec('BEGIN IMMEDIATE');
      try {
        // The lock file can be deleted by hand, so the record is compared once more in the transaction that moves it.
        const found = this.read(origin)?.size;
        if (found !== sizeBefore) {
          refuse('witness-state-moved', origin, String(sizeBefore ?? 'nothing'), String(found ?? 'nothing'));
        }
        this.write(origin, record);
        this.database.exec('COMMIT');
      } catch (error) {
        if (this.database.isTransaction) this.database.exec('ROLLBACK');
        throw error;
      }
    });
  }

  close(): void {
    this.database.close();
    this.lock.close();
  }

  private read(origin: string): WitnessRecord | undefined {
    const row = this.database
      .prepare('SELECT size, root, note, time FROM records WHERE origin = ?')
      .get(origin);
    if (row === undefined) return undefined;
    const { size, root, note, time } = row;
    const isWhole =
      [size, root, time].every((value) => value instanceof Uint8Array) && typeof note === 'string';
    if (!isWhole) refuse('witness-state-failed', this.path, 'a record', 'a damaged one');
    return {
      size: decode(u64, size as Uint8Array, 'record.size'),
      root: root as Uint8Array,
      note,
      time: decode(u64, time as Uint8Array, 'record.time'),
    };
  }

  private write(origin: string, { size, root, note, time }: WitnessRecord): void {
    this.database
      .prepare(
        `INSERT INTO records (origin, size, root, note, time) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root,
           note = excluded.note, time = excluded.time`,
      )
      .run(origin, encode(u64, size, 'size'), root, note, encode(u64, time, 'time'));
  }
}

function withLock<T>(path: string, work: (lock: DatabaseSync) => T): T {
  return guarded(path, () => {
    const lock = tryLock(`${path}.lock`);
    if (lock === undefined)
      refuse('witness-state-locked', path, 'no other writer', 'one that holds the lock');
    return work(lock);
  });
}

/** What SQLite and the file system throw is about this machine. */
function guarded<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (isRefusal(cause)) throw cause;
    const found = cause instanceof Error ? cause.message : 'an unknown error';
    const facts = { field: path, expected: 'a working database', found };
    throw witnessStateRefusals.error('witness-state-failed', facts, { cause });
  }
}

type StateCode = keyof typeof witnessStateRefusals.codes;

function refuse(code: StateCode, field: string, expected: string, found: string): never {
  throw witnessStateRefusals.error(code, { field: excerpt(field), expected, found }) satisfies RefusalError;
}
