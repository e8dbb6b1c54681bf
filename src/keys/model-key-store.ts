/**
 * The store of model keys: wrapped by a custody, by manifest digest, put once (KC-9). Until there is a manifest a key
 * stands under its commitment instead, which is of the same form (KC-11).
 */

import { open } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';

import type { Mode } from '../governance/fields.ts';
import type { KeyCustody, ModelKeyContext } from './custody.ts';
import { keyUsageRefusals, keyUseRefusals } from './refusals.ts';

const MODEL_KEY_BYTES = 32;
const OWNER_ONLY = 0o600;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS model_keys (
    manifest_digest TEXT PRIMARY KEY NOT NULL,
    wrapped BLOB NOT NULL
  ) STRICT, WITHOUT ROWID`;

export interface ModelKeyStore {
  /**
   * Stores a key durably. The key stays the caller's, who zeroes it.
   *
   * @param manifestDigest lower-case hexadecimal
   * @param key 32 bytes
   * @throws RefusalError `model-key-exists`, `key-length-wrong`, `key-store-failed`
   */
  put(manifestDigest: string, key: Uint8Array): Promise<void>;
  /** @throws RefusalError `key-store-failed` */
  has(manifestDigest: string): boolean;
  /** Forgets a key that nothing was sealed with to its end. @throws RefusalError `key-store-failed` */
  discard(name: string): void;
  /**
   * Unwraps a key for the time of one use and zeroes it afterwards, also when the use fails.
   *
   * @throws RefusalError `model-key-unknown`, `key-wrapped-damaged`, `key-store-failed`, and those of `use`
   */
  withKey<T>(manifestDigest: string, use: (key: Uint8Array) => T | Promise<T>): Promise<T>;
  close(): void;
}

/**
 * Opens the store, or makes it.
 *
 * @param options.path the SQLite file
 * @throws RefusalError `key-store-failed`
 */
export async function openModelKeyStore(options: {
  readonly path: string;
  readonly custody: KeyCustody;
  readonly origin: string;
  readonly mode: Mode;
}): Promise<ModelKeyStore> {
  const { path, custody, origin, mode } = options;
  const database = await openDatabase(path);
  const context = (manifestDigest: string): ModelKeyContext => ({ manifestDigest, origin, mode });
  const find = (manifestDigest: string): Uint8Array | undefined => {
    const row = guarded(path, () =>
      database.prepare('SELECT wrapped FROM model_keys WHERE manifest_digest = ?').get(manifestDigest),
    );
    return row?.['wrapped'] instanceof Uint8Array ? row['wrapped'] : undefined;
  };
  return {
    put: async (manifestDigest, key) => {
      requireLength(key);
      const wrapped = await custody.wrap(key, context(manifestDigest));
      const { changes } = guarded(path, () =>
        database
          .prepare('INSERT INTO model_keys (manifest_digest, wrapped) VALUES (?, ?) ON CONFLICT DO NOTHING')
          .run(manifestDigest, wrapped),
      );
      if (changes === 0) refuse('model-key-exists', manifestDigest, 'a model without a stored key', 'one');
    },
    has: (manifestDigest) => find(manifestDigest) !== undefined,
    discard: (name) => {
      guarded(path, () => database.prepare('DELETE FROM model_keys WHERE manifest_digest = ?').run(name));
    },
    withKey: async (manifestDigest, use) => {
      const wrapped = find(manifestDigest);
      if (wrapped === undefined) refuse('model-key-unknown', manifestDigest, 'a stored key', 'none');
      const key = await custody.unwrap(wrapped, context(manifestDigest));
      try {
        return await use(key);
      } finally {
        key.fill(0);
      }
    },
    close: () => {
      database.close();
    },
  };
}

async function openDatabase(path: string): Promise<DatabaseSync> {
  try {
    // SQLite gives its journal files the mode of the database file, so that is made first and for the owner alone.
    const file = await open(path, 'a', OWNER_ONLY);
    await file.close();
    const database = new DatabaseSync(path);
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000');
    database.exec(SCHEMA);
    return database;
  } catch (cause) {
    throw storeFailed(path, cause);
  }
}

function guarded<T>(path: string, use: () => T): T {
  try {
    return use();
  } catch (cause) {
    throw storeFailed(path, cause);
  }
}

function storeFailed(path: string, cause: unknown) {
  return keyUseRefusals.error(
    'key-store-failed',
    {
      field: path,
      expected: 'a usable SQLite file',
      found: cause instanceof Error ? cause.message : 'an error',
    },
    { cause },
  );
}

function requireLength(key: Uint8Array): void {
  if (key.length !== MODEL_KEY_BYTES) {
    refuse('key-length-wrong', 'key', `${MODEL_KEY_BYTES} bytes`, `${key.length} bytes`);
  }
}

function refuse(
  code: 'model-key-exists' | 'model-key-unknown' | 'key-length-wrong',
  field: string,
  expected: string,
  found: string,
): never {
  throw keyUsageRefusals.error(code, { field, expected, found });
}
