/**
 * What is known of a sealing that has begun: enough to go on with it after an interruption (SW-27 to SW-29). It is an
 * SQLite database beside the bundle, so that what it says is whole and durable, and so that two sealers cannot work
 * on one bundle: whoever has it open holds its lock. It holds no key.
 */

import { rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

import { sealedEnvironment, sealedUsage } from './refusals.ts';

const RECORD_VERSION = 1;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS sealing (
    version INTEGER NOT NULL, parameters TEXT NOT NULL, salt BLOB NOT NULL, key_commitment BLOB NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS sealed_files (
    path TEXT PRIMARY KEY NOT NULL, sha256 TEXT NOT NULL, tags BLOB NOT NULL
  ) STRICT, WITHOUT ROWID`;

/** What a sealing is of. Another source, model or key is another sealing. */
export interface SealingStart {
  /** Canonical text of everything that has to be the same for a sealing to go on. */
  readonly parameters: string;
  readonly salt: Uint8Array;
  readonly keyCommitment: Uint8Array;
}

/** A file of which everything is written. */
export interface FinishedFile {
  readonly path: string;
  /** Of the ciphertext; lower-case hex. */
  readonly sha256: string;
  readonly tags: Uint8Array;
}

/** A record in memory alone, for a sealing that nobody will go on with. */
export const UNRECORDED = ':memory:';

export class SealingRecord {
  readonly #path: string;
  readonly #database: DatabaseSync;

  private constructor(path: string, database: DatabaseSync) {
    this.#path = path;
    this.#database = database;
  }

  /**
   * Opens the record, or makes it.
   *
   * @throws RefusalError `sealed-unfinished-busy` while another sealer works on it, `sealed-not-written`
   */
  static open(path: string): SealingRecord {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(path);
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 0');
      database.exec('BEGIN EXCLUSIVE');
      database.exec(SCHEMA);
      database.exec('COMMIT');
      return new SealingRecord(path, database);
    } catch (cause) {
      database?.close();
      throw refusalOf(path, cause);
    }
  }

  /**
   * Undefined before `begin`.
   *
   * @throws RefusalError `sealed-unfinished-other` for a record of another version
   */
  get start(): SealingStart | undefined {
    const row = this.#database.prepare('SELECT * FROM sealing').get();
    if (row === undefined) return undefined;
    const { version, parameters, salt, key_commitment: keyCommitment } = row;
    const known =
      version === RECORD_VERSION &&
      typeof parameters === 'string' &&
      salt instanceof Uint8Array &&
      keyCommitment instanceof Uint8Array;
    if (known) return { parameters, salt, keyCommitment };
    return refuseOther(this.#path, `version ${RECORD_VERSION}`, 'another version');
  }

  begin({ parameters, salt, keyCommitment }: SealingStart): void {
    this.#database
      .prepare('INSERT INTO sealing VALUES (?, ?, ?, ?)')
      .run(RECORD_VERSION, parameters, salt, keyCommitment);
  }

  finished(): ReadonlyMap<string, FinishedFile> {
    const rows = this.#database.prepare('SELECT path, sha256, tags FROM sealed_files').all();
    return new Map(rows.map((row) => [String(row['path']), row as unknown as FinishedFile]));
  }

  /** Durable when it returns. */
  finish(files: readonly FinishedFile[]): void {
    const insert = this.#database.prepare('INSERT INTO sealed_files VALUES (?, ?, ?)');
    this.#database.exec('BEGIN');
    for (const { path, sha256, tags } of files) insert.run(path, sha256, tags);
    this.#database.exec('COMMIT');
  }

  /** Leaves the record where it is, for somebody to go on. */
  close(): void {
    this.#database.close();
  }

  /** The sealing is at its end, or given up. */
  remove(): void {
    this.#database.close();
    if (this.#path !== UNRECORDED) rmSync(this.#path, { force: true });
  }
}

export function refuseOther(path: string, expected: string, found: string): never {
  throw sealedUsage.error('sealed-unfinished-other', { field: path, expected, found });
}

function refusalOf(path: string, cause: unknown): Error {
  const message = cause instanceof Error ? cause.message : 'an error';
  if (message.includes('locked')) {
    return sealedEnvironment.error(
      'sealed-unfinished-busy',
      { field: path, expected: 'one sealer at a time', found: 'another one at work' },
      { cause },
    );
  }
  return sealedEnvironment.error(
    'sealed-not-written',
    { field: path, expected: 'a record of the sealing', found: message },
    { cause },
  );
}
