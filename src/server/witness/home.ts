/** The home of a witness: its key, its state, its TLS certificate and the logs that it knows (docs/spec/witness.md). */

import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

import { z } from 'zod';

import { toUtf8 } from '../../../attestation/core/bytes.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { createSigningKey, openSigningKey } from '../../keys/signing-key.ts';
import type { LogTrust } from '../../log/checkpoint.ts';
import { isLogKey } from '../../log/checkpoint-signature.ts';
import { formatVerifierKey, makeVerifierKey, parseVerifierKey } from '../../log/verifier-key.ts';
import { ed25519WitnessSigner, type WitnessSigner } from '../../log/witness.ts';
import { createWitnessState, openWitnessState, type SqliteWitnessState } from '../../log/witness-state.ts';
import type { Clock } from '../../platform/clock.ts';
import { formatConfiguration, readConfiguration } from '../../platform/configuration.ts';
import { writeFileDurably } from '../../platform/files.ts';
import { createDevelopmentAuthority } from '../../platform/tls-authority.ts';
import { homeRefusals } from '../refusals.ts';

/** Relative to the home. */
const PLACES = {
  configuration: 'witness.yaml',
  key: 'witness.key',
  state: 'witness.sqlite',
  tls: 'tls',
  authority: 'tls/authority.pem',
  certificate: 'tls/server.pem',
  certificateKey: 'tls/server-key.pem',
} as const;

const OWNER_ONLY_FOLDER = 0o700;
const OWNER_ONLY_FILE = 0o600;
const PUBLIC_FILE = 0o644;
/** Whose the signing key is; as a witness it has the name of the configuration. */
const KEY_OWNER = 'witness';

const path = z.string().min(1).max(1000);

const configurationSchema = z.strictObject({
  version: z.literal(1),
  /** Of the key with which this witness cosigns; nobody else has it. */
  name: z.string().min(1).max(200),
  listen: z.strictObject({ host: z.string().min(1).max(255), port: z.int().min(0).max(65_535) }),
  /** PEM files, relative to the home. */
  tls: z.strictObject({ certificate: path, key: path }),
  /** The logs whose checkpoints are cosigned, each with its verifier keys as the log publishes them. */
  logs: z
    .array(
      z.strictObject({
        origin: z.string().min(1).max(200),
        keys: z.array(z.string().max(4000)).min(1).max(16),
      }),
    )
    .max(10_000),
  limits: z.strictObject({
    connections: z.int().min(1).max(100_000),
    /** For one address. */
    requestsPerMinute: z.int().min(1).max(1_000_000),
  }),
});

export type WitnessConfiguration = z.infer<typeof configurationSchema>;

const COMMENT = `Weightgate witness. Paths are relative to this folder.
Each log: its origin, and its verifier keys as the log publishes them.`;

export interface NewWitnessHome {
  readonly path: string;
  readonly name: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** Names and addresses for the TLS certificate, besides those of this machine. */
  readonly hosts: readonly string[];
  readonly logs: WitnessConfiguration['logs'];
  readonly passphrase: string;
  readonly clock: Clock;
}

/** What those who trust a new witness have to be given. */
export interface WitnessIdentity {
  /** Verifier key, as a policy names it. */
  readonly verifierKey: string;
  /** PEM. */
  readonly authorityCertificate: string;
}

/**
 * Makes the home of a new witness; the folder appears when it is complete.
 *
 * @throws RefusalError `home-exists`, `home-not-made`, `key-*`, `log-key-malformed`, `file-*`
 */
export async function createWitnessHome(home: NewWitnessHome): Promise<WitnessIdentity> {
  const place = resolve(home.path);
  const names = await readdir(place).catch(() => []);
  if (names.length > 0) {
    const facts = { field: place, expected: 'no folder, or an empty one', found: `${names.length} files` };
    throw homeRefusals.error('home-exists', facts);
  }
  const partial = join(dirname(place), `.${basename(place)}.${randomUUID()}.partial`);
  try {
    await mkdir(join(partial, PLACES.tls), { recursive: true, mode: OWNER_ONLY_FOLDER });
    const identity = await fillHome(partial, home);
    await rename(partial, place);
    return identity;
  } catch (cause) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    if (isRefusal(cause)) throw cause;
    const found = cause instanceof Error ? cause.message : 'another failure';
    const facts = { field: place, expected: 'a new home of a witness', found };
    throw homeRefusals.error('home-not-made', facts, { cause });
  }
}

async function fillHome(folder: string, home: NewWitnessHome): Promise<WitnessIdentity> {
  const { name, listen, logs, passphrase, clock } = home;
  readLogs(logs);
  const keyPath = join(folder, PLACES.key);
  const { publicKey } = await createSigningKey({ path: keyPath, name: KEY_OWNER, passphrase });
  const key = makeVerifierKey(name, 'ed25519-cosignature', publicKey);
  const { authority, server } = await createDevelopmentAuthority(home.hosts, clock.posixSeconds());
  const files = [
    [PLACES.authority, authority.certificate, PUBLIC_FILE],
    [PLACES.certificate, server.certificate, PUBLIC_FILE],
    [PLACES.certificateKey, server.privateKey, OWNER_ONLY_FILE],
  ] as const;
  for (const [file, content, mode] of files)
    await writeFileDurably(join(folder, file), toUtf8(content), mode);
  createWitnessState(join(folder, PLACES.state));
  const configuration: WitnessConfiguration = {
    version: 1,
    name,
    listen,
    tls: { certificate: PLACES.certificate, key: PLACES.certificateKey },
    logs,
    limits: { connections: 1000, requestsPerMinute: 600 },
  };
  const content = formatConfiguration(COMMENT, configuration);
  await writeFileDurably(join(folder, PLACES.configuration), content, OWNER_ONLY_FILE);
  return { verifierKey: formatVerifierKey(key), authorityCertificate: authority.certificate };
}

/** Everything that a witness runs on. Whoever opens it closes its state. */
export interface WitnessHome {
  readonly path: string;
  readonly configuration: WitnessConfiguration;
  readonly signer: WitnessSigner;
  readonly logs: readonly LogTrust[];
  readonly state: SqliteWitnessState;
}

/**
 * @throws RefusalError `home-not-found`, `configuration-yaml`, `shape-mismatch`, `key-*`, `witness-state-*`, `log-key-malformed`
 */
export async function openWitnessHome(home: string, passphrase: string): Promise<WitnessHome> {
  const configuration = await readExisting(home);
  const logs = readLogs(configuration.logs);
  const key = await openSigningKey(join(home, PLACES.key), passphrase);
  const signer = ed25519WitnessSigner(configuration.name, key);
  const state = openWitnessState(join(home, PLACES.state));
  return { path: home, configuration, signer, logs, state };
}

async function readExisting(home: string): Promise<WitnessConfiguration> {
  try {
    return await readConfiguration(join(home, PLACES.configuration), configurationSchema);
  } catch (cause) {
    if (!isRefusal(cause) || cause.refusal.code !== 'file-not-found') throw cause;
    const facts = { field: home, expected: 'the home of a witness', found: 'no witness.yaml' };
    throw homeRefusals.error('home-not-found', facts, { cause });
  }
}

/** @throws RefusalError `home-witness-logs`, `log-key-malformed`, `base64-malformed` */
function readLogs(logs: WitnessConfiguration['logs']): readonly LogTrust[] {
  const origins = new Set<string>();
  return logs.map(({ origin, keys }, i) => {
    const field = `logs[${i}]`;
    if (origins.has(origin)) refuseLog(`${field}.origin`, 'each origin once', origin);
    origins.add(origin);
    const parsed = keys.map((key) => parseVerifierKey(key, `${field}.keys`));
    const other = parsed.find((key) => !isLogKey(key));
    if (other !== undefined) refuseLog(`${field}.keys`, 'keys of a log', other.algorithm);
    return { origin, keys: parsed };
  });
}

function refuseLog(field: string, expected: string, found: string): never {
  throw homeRefusals.error('home-witness-logs', { field, expected, found });
}
