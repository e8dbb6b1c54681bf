/**
 * Makes the home of a further server on a log that several servers share: the same keys and settings, and a memory of its own
 * (docs/spec/release-log.md, TL-48). A plain copy of a home would hand out and take the challenges of the first server.
 */

import { randomUUID } from 'node:crypto';
import { cp, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';

import { isRefusal } from '../../attestation/core/refusal.ts';
import { writeFileDurably } from '../platform/files.ts';
import { formatHomeConfiguration, readHomeConfiguration } from './home-configuration.ts';
import { HOME_PLACES } from './home-layout.ts';
import { refuseExistingHome } from './new-home.ts';
import { homeRefusals } from './refusals.ts';
import { ServerStorage } from './storage.ts';

const OWNER_ONLY_FILE = 0o600;

export interface AdditionalHome {
  /** The home of a server on the log; it may run. */
  readonly from: string;
  readonly path: string;
  readonly listen: { readonly host: string; readonly port: number };
}

/**
 * Makes the home, whole or not at all. The TLS certificate is that of the first server: put one for the new address in its place.
 *
 * @throws RefusalError `home-exists`, `home-not-shared`, `home-not-made`, and those of `readHomeConfiguration`
 */
export async function createAdditionalHome({ from, path, listen }: AdditionalHome): Promise<void> {
  const target = resolve(path);
  await refuseExistingHome(target);
  const configuration = await readHomeConfiguration(from);
  if (configuration.log.database === null) {
    const facts = { field: 'log.database', expected: 'the connection string of a database', found: 'null' };
    throw homeRefusals.error('home-not-shared', facts);
  }
  const partial = join(dirname(target), `.${basename(target)}.${randomUUID()}.partial`);
  try {
    await copyShared(resolve(from), partial, configuration.evidence.folder);
    const document = formatHomeConfiguration({ ...configuration, listen });
    await writeFileDurably(join(partial, HOME_PLACES.configuration), document, OWNER_ONLY_FILE);
    ServerStorage.create(join(partial, HOME_PLACES.storage)).close();
    await rename(partial, target);
  } catch (cause) {
    await rm(partial, { recursive: true, force: true });
    if (isRefusal(cause)) throw cause;
    const found = cause instanceof Error ? cause.message : 'another failure';
    throw homeRefusals.error('home-not-made', { field: target, expected: 'a home', found }, { cause });
  }
}

/** Everything but what is of one server: its database, the inputs of its decisions, and locks. */
async function copyShared(from: string, to: string, evidence: string): Promise<void> {
  const own = new Set([join(from, evidence), ...(await databaseFiles(from))]);
  await cp(from, to, { recursive: true, filter: (source) => !own.has(source) && !source.endsWith('.lock') });
  const modelKeys = join(from, HOME_PLACES.modelKeys);
  const database = new DatabaseSync(modelKeys, { readOnly: true });
  try {
    // A server that runs may be writing to it.
    await backup(database, join(to, HOME_PLACES.modelKeys));
  } finally {
    database.close();
  }
}

/** With what SQLite puts beside them. */
async function databaseFiles(home: string): Promise<readonly string[]> {
  const databases = [HOME_PLACES.storage, HOME_PLACES.modelKeys];
  const names = await readdir(home);
  return names
    .filter((name) => databases.some((database) => name.startsWith(database)))
    .map((name) => join(home, name));
}
