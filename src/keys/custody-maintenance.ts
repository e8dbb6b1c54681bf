/**
 * Rotation, retirement and migration of a home's custody (docs/spec/key-custody.md section 10). Stored keys move one by
 * one, each durably; the old form of a key is valid until the new one stands in its place. Whatever interrupts any of
 * this, the same call made again goes on, and a server that runs meanwhile finds each key where it is.
 */

import { newSeed } from './ed25519-seed.ts';
import { endCustodyEvents, observeCustody } from './custody-events.ts';
import type { CustodyHome } from './custody-provider.ts';
import type { CustodyProviderName } from './custody.ts';
import {
  openCustody,
  prepareCustody,
  readCustodies,
  writeCustodies,
  type CustodiesDocument,
  type CustodyConfiguration,
  type HomeCustodies,
  type NumberedCustody,
} from './home-custodies.ts';
import type { ModelKeyDatabase, StoredKey } from './model-key-database.ts';
import { contextIn } from './model-key-store.ts';
import { keyUsageRefusals } from './refusals.ts';

/** A home whose keys are open. */
export interface CustodyMaintenance {
  readonly home: CustodyHome;
  readonly database: ModelKeyDatabase;
  readonly custodies: HomeCustodies;
}

export interface CustodyStatus {
  readonly number: number;
  readonly provider: CustodyProviderName;
  readonly place: string;
  /** Identifiers of the wrapping keys, the current one first, with how many stored keys each wraps. */
  readonly wrappingKeys: readonly { readonly id: string; readonly storedKeys: number }[];
  /** Stored keys that a custody of before still wraps. */
  readonly storedElsewhere: number;
}

/** @throws RefusalError as `KeyCustody.wrappingKeys`, `key-store-failed` */
export async function custodyStatus({ database, custodies }: CustodyMaintenance): Promise<CustodyStatus> {
  const { number, provider, custody } = custodies.current;
  const { current, older } = await custody.wrappingKeys();
  const rows = database.all();
  const own = rows
    .filter((row) => row.custody === number)
    .map(({ wrapped }) => custody.wrappingKeyOf(wrapped));
  const wrappingKeys = [current, ...older].map((id) => ({
    id,
    storedKeys: own.filter((used) => used === id).length,
  }));
  const { place } = custody.description;
  return { number, provider, place, wrappingKeys, storedElsewhere: rows.length - own.length };
}

/** Writes down for the log what the current custody holds. @throws RefusalError as `KeyCustody.wrappingKeys` */
export async function observeCurrent({
  database,
  custodies,
}: Omit<CustodyMaintenance, 'home'>): Promise<void> {
  const { number, provider, custody } = custodies.current;
  observeCustody(database, { number, provider, keys: await custody.wrappingKeys() });
}

/**
 * Makes a new wrapping key and puts every stored key under it; or goes on with a rotation that was interrupted.
 *
 * @param onMoved called after each stored key
 * @returns whether a new wrapping key was made
 * @throws RefusalError `custody-unfinished` during a migration, `key-store-failed`, and those of the custody
 */
export async function rotateCustody(
  maintenance: CustodyMaintenance,
  onMoved: () => void = () => undefined,
): Promise<boolean> {
  await requireNoMigration(maintenance);
  const { custody } = maintenance.custodies.current;
  await custody.wrappingKeys();
  const unfinished = maintenance.database
    .all()
    .some((row) => needsToMove(row, maintenance.custodies.current));
  if (!unfinished) await custody.rotate();
  await observeCurrent(maintenance);
  await moveAll(maintenance, onMoved);
  return !unfinished;
}

/**
 * Forgets the older wrapping keys.
 *
 * @returns those that were forgotten
 * @throws RefusalError `custody-unfinished`, `wrapping-key-in-use`, `key-store-failed`, and those of the custody
 */
export async function retireWrappingKeys(maintenance: CustodyMaintenance): Promise<readonly string[]> {
  await requireNoMigration(maintenance);
  const { database, custodies } = maintenance;
  const { number, custody } = custodies.current;
  const { older } = await custody.wrappingKeys();
  const inUse = database.transaction(() => {
    const used = new Set(database.all().map(({ wrapped }) => custody.wrappingKeyOf(wrapped)));
    // From here on nothing new is stored under them: nothing that is retired can come into use any more.
    if (!older.some((id) => used.has(id))) {
      for (const wrappingKey of older) database.endWrappingKey({ custody: number, wrappingKey });
    }
    return used;
  });
  const retired = await custody.retire(inUse);
  await observeCurrent(maintenance);
  return retired;
}

/**
 * Gives a home another custody and moves every stored key to it; or goes on with a migration that was interrupted.
 *
 * @throws RefusalError `custody-unfinished` when another migration was interrupted, `key-store-failed`, `file-*`, and
 *   those of both custodies
 */
export async function migrateCustody(
  maintenance: CustodyMaintenance,
  to: Pick<CustodyConfiguration, 'provider' | 'settings'>,
  onMoved: () => void = () => undefined,
): Promise<void> {
  const { home, database, custodies } = maintenance;
  const begun = await readCustodies(home);
  const document = begun.former === null ? await beginMigration(maintenance, begun, to) : begun;
  if (JSON.stringify(document.current.settings) !== JSON.stringify(to.settings)) refuseUnfinished(document);
  await custodies.reload();
  await observeCurrent(maintenance);
  await moveAll(maintenance, onMoved, () => {
    if (document.former === null) return;
    database.endCustody(document.former.number);
    endCustodyEvents(database, document.former.number, document.former.provider);
  });
  await writeCustodies(home.folder, { ...document, former: null });
}

/** The new custody is known to work before anything is changed (KC-84). */
async function beginMigration(
  { home }: CustodyMaintenance,
  { current }: CustodiesDocument,
  to: Pick<CustodyConfiguration, 'provider' | 'settings'>,
): Promise<CustodiesDocument> {
  const next = { number: current.number + 1, provider: to.provider, settings: to.settings };
  await prepareCustody(next, home);
  await tryCustody(next, home);
  const document = { version: 1, current: next, former: current } as const;
  await writeCustodies(home.folder, document);
  return document;
}

/** Wraps and unwraps once. @throws RefusalError as `KeyCustody`, `key-wrapped-damaged` where another key comes back */
export async function tryCustody(configuration: CustodyConfiguration, home: CustodyHome): Promise<void> {
  const { custody } = await openCustody(configuration, home);
  const key = newSeed();
  const context = contextIn(home, '00'.repeat(32));
  try {
    const back = await custody.unwrap(await custody.wrap(key, context), context);
    const same = Buffer.from(back).equals(key);
    back.fill(0);
    if (!same) throw new Error('a custody gave back another key');
  } finally {
    key.fill(0);
    await custody.close();
  }
}

async function requireNoMigration({ home }: CustodyMaintenance): Promise<void> {
  const document = await readCustodies(home);
  if (document.former !== null) refuseUnfinished(document);
}

function refuseUnfinished({ current, former }: CustodiesDocument): never {
  throw keyUsageRefusals.error('custody-unfinished', {
    field: 'custody',
    expected: 'a migration that is finished (KC-84)',
    found: `one from ${former?.provider ?? 'none'} to ${current.provider}`,
  });
}

function needsToMove(row: StoredKey, { number, custody }: NumberedCustody): boolean {
  return row.custody !== number || !custody.isCurrent(row.wrapped);
}

/**
 * Moves stored keys until there is none to move. Others may store keys meanwhile.
 *
 * @param atEnd runs in the transaction that has seen that there is none
 */
async function moveAll(
  { home, database, custodies }: CustodyMaintenance,
  onMoved: () => void,
  atEnd: () => void = () => undefined,
): Promise<void> {
  const { current } = custodies;
  for (;;) {
    const left = database.transaction(() => {
      const rows = database.all().filter((row) => needsToMove(row, current));
      if (rows.length === 0) atEnd();
      return rows;
    });
    if (left.length === 0) return;
    for (const row of left) {
      const wrapped = await renewed(row, current, custodies, home);
      const after = { manifestDigest: row.manifestDigest, custody: current.number, wrapped };
      if (database.replace(row, after, current.custody.wrappingKeyOf(wrapped))) onMoved();
    }
  }
}

async function renewed(
  row: StoredKey,
  current: NumberedCustody,
  custodies: HomeCustodies,
  home: CustodyHome,
): Promise<Uint8Array> {
  const context = contextIn(home, row.manifestDigest);
  if (row.custody === current.number) return await current.custody.rewrap(row.wrapped, context);
  const { custody } = await custodies.byNumber(row.custody);
  const key = await custody.unwrap(row.wrapped, context);
  try {
    return await current.custody.wrap(key, context);
  } finally {
    key.fill(0);
  }
}
