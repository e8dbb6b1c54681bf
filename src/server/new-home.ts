/** Makes the home of a server: one folder with its configuration, keys, log and databases, whole or not at all. */

import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { encodeEntry } from '../governance/entries.ts';
import type { Mode } from '../governance/fields.ts';
import { initialState } from '../governance/fold.ts';
import type { TrustRoot } from '../governance/trust-root.ts';
import { tryCustody } from '../keys/custody-maintenance.ts';
import {
  FILE_CUSTODY,
  prepareCustody,
  writeCustodies,
  type CustodyConfiguration,
} from '../keys/home-custodies.ts';
import { createKeyring, openKeyring } from '../keys/keyring.ts';
import { createReleaseLog } from '../log/log-folder.ts';
import type { Clock } from '../platform/clock.ts';
import { writeFileDurably } from '../platform/files.ts';
import { createDevelopmentAuthority } from '../platform/tls-authority.ts';
import { anchorFolders, pinFile } from './anchors.ts';
import { defaultConfiguration, formatHomeConfiguration } from './home-configuration.ts';
import { VERIFIED_CLASSES } from './device-classes.ts';
import { HOME_PLACES, logIdentityOf, logKeyOf } from './home-layout.ts';
import { homeRefusals } from './refusals.ts';
import { ServerStorage } from './storage.ts';

const OWNER_ONLY_FOLDER = 0o700;
const OWNER_ONLY_FILE = 0o600;
const PUBLIC_FILE = 0o644;

export interface NewHome {
  readonly path: string;
  readonly mode: Mode;
  /** Name of the log. Ends in `/evaluation` exactly when the mode is `evaluation` (RP-5). */
  readonly origin: string;
  readonly trustRoot: TrustRoot;
  readonly listen: { readonly host: string; readonly port: number };
  /** Names and addresses for the TLS certificate, besides those of this machine. */
  readonly names: readonly string[];
  /** Opens the keyring; chosen by the operator. */
  readonly passphrase: string;
  /** PostgreSQL, for a log that several servers share; without it a database in the home. */
  readonly database?: string | undefined;
  /** Holds the wrapping keys; without it the file custody, which a production server does not have. */
  readonly custody?: Pick<CustodyConfiguration, 'provider' | 'settings'>;
  readonly clock: Clock;
}

/** What clients of a new server have to be given. */
export interface HomeIdentity {
  /** Verifier key of the log, as in a signed note. */
  readonly logKey: string;
  /** PEM. */
  readonly authorityCertificate: string;
}

/**
 * Makes the home of a new server: keys, TLS certificates, a log that begins with its genesis entry, empty databases.
 * The folder appears when it is complete; after a failure or an interrupt nothing is left.
 *
 * @param signal aborts between the steps
 * @throws RefusalError `home-exists`, `governance-genesis`, `governance-trust-root`, `key-*`, `custody-*`, `log-*`,
 *   `file-*`
 */
export async function createServerHome(home: NewHome, signal?: AbortSignal): Promise<HomeIdentity> {
  const path = resolve(home.path);
  await refuseExistingHome(path);
  const partial = join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
  try {
    await mkdir(partial, { recursive: true, mode: OWNER_ONLY_FOLDER });
    const authorityCertificate = await writeTls(partial, home);
    signal?.throwIfAborted();
    const logKey = await beginLog(partial, home);
    signal?.throwIfAborted();
    await chooseCustody(partial, home);
    signal?.throwIfAborted();
    ServerStorage.create(join(partial, HOME_PLACES.storage)).close();
    await writeConfiguration(partial, home);
    signal?.throwIfAborted();
    await rename(partial, path);
    return { logKey, authorityCertificate };
  } catch (cause) {
    // Where the parent is no folder there is nothing to remove, and rm says so.
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    if (isRefusal(cause) || signal?.aborted === true) throw cause;
    const found = cause instanceof Error ? cause.message : 'another failure';
    const facts = { field: path, expected: 'a new server home', found };
    throw homeRefusals.error('home-not-made', facts, { cause });
  }
}

/** @throws RefusalError `home-exists` */
export async function refuseExistingHome(path: string): Promise<void> {
  const names = await readdir(path).catch(() => []);
  if (names.length === 0) return;
  const facts = { field: path, expected: 'no folder, or an empty one', found: `${names.length} files` };
  throw homeRefusals.error('home-exists', facts);
}

async function writeTls(home: string, { names, clock }: NewHome): Promise<string> {
  const { authority, server } = await createDevelopmentAuthority(names, clock.posixSeconds());
  await mkdir(join(home, HOME_PLACES.tls), { mode: OWNER_ONLY_FOLDER });
  await writeFileDurably(join(home, HOME_PLACES.authority), toUtf8(authority.certificate), PUBLIC_FILE);
  await writeFileDurably(join(home, HOME_PLACES.authorityKey), toUtf8(authority.privateKey), OWNER_ONLY_FILE);
  await writeFileDurably(join(home, HOME_PLACES.serverCertificate), toUtf8(server.certificate), PUBLIC_FILE);
  await writeFileDurably(join(home, HOME_PLACES.serverKey), toUtf8(server.privateKey), OWNER_ONLY_FILE);
  return authority.certificate;
}

/** A home whose custody does not work is not made (KC-80). */
async function chooseCustody(folder: string, home: NewHome): Promise<void> {
  const { mode, origin, passphrase, custody = FILE_CUSTODY } = home;
  const current = { number: 1, provider: custody.provider, settings: custody.settings };
  const custodyHome = { folder, mode, origin, passphrase };
  await prepareCustody(current, custodyHome);
  await tryCustody(current, custodyHome);
  await writeCustodies(folder, { version: 1, current, former: null });
}

/** Makes the keyring and the log, and logs the genesis entry (RP-6). */
async function beginLog(folder: string, home: NewHome): Promise<string> {
  const { mode, origin, passphrase, trustRoot, clock } = home;
  const path = join(folder, HOME_PLACES.keyring);
  await createKeyring({ path, mode, origin, passphrase });
  const keyring = await openKeyring({ path, mode, origin, passphrase });
  const identity = logIdentityOf(keyring, origin);
  const logKey = logKeyOf(identity);
  const genesis = {
    version: 1,
    type: 'genesis',
    at: clock.posixSeconds(),
    origin,
    mode,
    logKey,
    trustRoot,
  } as const;
  initialState(genesis);
  await mkdir(join(folder, HOME_PLACES.log), { mode: OWNER_ONLY_FOLDER });
  const log = await createReleaseLog(join(folder, HOME_PLACES.log), identity, undefined, home.database);
  try {
    await log.append(encodeEntry(genesis));
  } finally {
    await log.close();
  }
  return logKey;
}

/**
 * Folders for the authorities of each class. Vendors' roots change rarely and are few: a production server begins with
 * them, and its operator may remove one.
 */
async function writeAnchors(folder: string, mode: Mode): Promise<void> {
  for (const [name, { anchorPurposes, vendorRoots }] of VERIFIED_CLASSES) {
    for (const { path, purpose } of anchorFolders(name, mode, anchorPurposes)) {
      await mkdir(join(folder, path), { recursive: true });
      if (mode === 'evaluation') continue;
      for (const root of vendorRoots.filter((candidate) => candidate.purpose === purpose)) {
        const pin = pinFile(root.commonName, root.publicKeyDigest);
        await writeFileDurably(join(folder, path, pin.name), pin.content, PUBLIC_FILE);
      }
    }
  }
}

async function writeConfiguration(folder: string, home: NewHome): Promise<void> {
  const configuration = defaultConfiguration(home);
  await writeAnchors(join(folder, configuration.anchors), home.mode);
  await writeFileDurably(
    join(folder, HOME_PLACES.configuration),
    formatHomeConfiguration(configuration),
    OWNER_ONLY_FILE,
  );
}
