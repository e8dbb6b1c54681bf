/**
 * The store of model keys: wrapped by the custody of the home, by manifest digest, put once (KC-9). Until there is a
 * manifest a key stands under its commitment instead, which is of the same form (KC-11).
 */

import type { ModelKeyContext } from './custody.ts';
import { requireModelKey } from './custody-checks.ts';
import type { CustodyHome } from './custody-provider.ts';
import type { HomeCustodies } from './home-custodies.ts';
import { ModelKeyDatabase } from './model-key-database.ts';
import { keyUsageRefusals, keyUseRefusals } from './refusals.ts';

/** How often a key is wrapped anew because its wrapping key was retired in between. */
const MAX_ATTEMPTS = 3;

export interface ModelKeyStore {
  /**
   * Stores a key durably. The key stays the caller's, who zeroes it.
   *
   * @param manifestDigest lower-case hexadecimal
   * @param key 32 bytes
   * @throws RefusalError `model-key-exists`, `key-length-wrong`, `key-store-failed`, and those of the custody
   */
  put(manifestDigest: string, key: Uint8Array): Promise<void>;
  /** @throws RefusalError `key-store-failed` */
  has(manifestDigest: string): boolean;
  /** Forgets a key that nothing was sealed with to its end. @throws RefusalError `key-store-failed` */
  discard(name: string): void;
  /**
   * Unwraps a key for the time of one use and zeroes it afterwards, also when the use fails.
   *
   * @throws RefusalError `model-key-unknown`, `key-wrapped-damaged`, `key-store-failed`, those of the custody, and those
   *   of `use`
   */
  withKey<T>(manifestDigest: string, use: (key: Uint8Array) => T | Promise<T>): Promise<T>;
  /** For what is done to all of them: rotation, migration, events. */
  readonly database: ModelKeyDatabase;
  close(): void;
}

/** What a model key of a home is bound to (KC-9). */
export function contextIn(
  { origin, mode }: Pick<CustodyHome, 'origin' | 'mode'>,
  manifestDigest: string,
): ModelKeyContext {
  return { manifestDigest, origin, mode };
}

/**
 * Opens the store, or makes it.
 *
 * @param options.path the SQLite file
 * @throws RefusalError `key-store-failed`
 */
export async function openModelKeyStore(
  options: {
    readonly path: string;
    readonly custodies: Pick<HomeCustodies, 'current' | 'byNumber' | 'reload'>;
  } & Pick<CustodyHome, 'origin' | 'mode'>,
): Promise<ModelKeyStore> {
  const { path, custodies } = options;
  const database = await ModelKeyDatabase.open(path);
  return {
    database,
    put: async (manifestDigest, key) => {
      await put(database, custodies, contextIn(options, manifestDigest), key);
    },
    has: (manifestDigest) => database.find(manifestDigest) !== undefined,
    discard: (name) => {
      database.delete(name);
    },
    withKey: async (manifestDigest, use) => {
      const key = await take(database, custodies, contextIn(options, manifestDigest));
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

type Custodies = Pick<HomeCustodies, 'current' | 'byNumber' | 'reload'>;

async function put(
  database: ModelKeyDatabase,
  custodies: Custodies,
  context: ModelKeyContext,
  key: Uint8Array,
): Promise<void> {
  requireModelKey(key);
  const { manifestDigest } = context;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const { number, custody } = custodies.current;
    const wrapped = await custody.wrap(key, context);
    const row = { manifestDigest, custody: number, wrapped };
    const insertion = database.insert(row, custody.wrappingKeyOf(wrapped));
    if (insertion === 'stored') return;
    if (insertion === 'exists')
      refuse('model-key-exists', manifestDigest, 'a model without a stored key', 'one');
    await custodies.reload();
  }
  throw keyUseRefusals.error('key-store-failed', {
    field: manifestDigest,
    expected: 'a wrapping key that is not retired (KC-82)',
    found: `one that is, ${MAX_ATTEMPTS} times`,
  });
}

/**
 * A rotation may put the row under another wrapping key, and retire the one that was read here, while the custody is
 * asked: then the row is read again.
 */
async function take(
  database: ModelKeyDatabase,
  custodies: Custodies,
  context: ModelKeyContext,
): Promise<Uint8Array> {
  const { manifestDigest } = context;
  for (;;) {
    const row = database.find(manifestDigest);
    if (row === undefined) refuse('model-key-unknown', manifestDigest, 'a stored key', 'none');
    try {
      const { custody } = await custodies.byNumber(row.custody);
      return await custody.unwrap(row.wrapped, context);
    } catch (error) {
      const now = database.find(manifestDigest);
      if (now === undefined || Buffer.from(now.wrapped).equals(row.wrapped)) throw error;
    }
  }
}

function refuse(
  code: 'model-key-exists' | 'model-key-unknown',
  field: string,
  expected: string,
  found: string,
): never {
  throw keyUsageRefusals.error(code, { field, expected, found });
}
