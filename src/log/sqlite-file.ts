/**
 * What databases of logs and witnesses have in common: one writer at a time, and nothing acknowledged that is not synced.
 *
 * The lock is a file of its own beside the database, held for as long as the writer lives; the system takes it back when the
 * process is killed. Readers do not need it.
 */

import { DatabaseSync } from 'node:sqlite';

/** Result code of SQLite: another connection holds the lock. */
const SQLITE_BUSY = 5;

/** @returns undefined while another process holds the lock @throws Error what SQLite and the file system say */
export function tryLock(path: string): DatabaseSync | undefined {
  const lock = new DatabaseSync(path, { timeout: 0 });
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (cause) {
    lock.close();
    if (cause instanceof Error && 'errcode' in cause && cause.errcode === SQLITE_BUSY) return undefined;
    throw cause;
  }
}

/** Write-ahead log with `synchronous=FULL`: a committed transaction has been synced. */
export function prepareForWriting(database: DatabaseSync): void {
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON');
}

/** Names file type and version in the header of a database. */
export interface SchemaIdentity {
  readonly application: number;
  readonly version: number;
}

/** @returns zeros for a file that is new */
export function schemaIdentity(database: DatabaseSync): SchemaIdentity {
  return {
    application: pragma(database, 'application_id'),
    version: pragma(database, 'user_version'),
  };
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

/** Makes the tables of a new database and names it, all or nothing. @param fill runs in the same transaction */
export function createSchema(
  database: DatabaseSync,
  schema: string,
  { application, version }: SchemaIdentity,
  fill: () => void = () => undefined,
): void {
  database.exec('BEGIN IMMEDIATE');
  database.exec(schema);
  database.exec(`PRAGMA application_id = ${application}; PRAGMA user_version = ${version}`);
  fill();
  database.exec('COMMIT');
}
