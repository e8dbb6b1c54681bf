import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { Option, type Command } from 'commander';

import { MODES, type Mode } from '../../governance/fields.ts';
import { EVALUATION_ORIGIN_SUFFIX } from '../../governance/fold.ts';
import { createTrustRoot, type Person } from '../../governance/trust-root.ts';
import type { CustodyProviderName } from '../../keys/custody.ts';
import { fromUtf8 } from '../../../attestation/core/bytes.ts';
import { systemClock } from '../../platform/clock.ts';
import { readFileBounded } from '../../platform/files.ts';
import { writeServerProfile, type ServerProfile } from '../../platform/server-profile.ts';
import { createServerHome } from '../../server/new-home.ts';
import {
  collectFiles,
  collectHosts,
  displayNameArgument,
  originArgument,
  type Pair,
  parsePositiveInteger,
} from '../arguments.ts';
import { custodySettingsOption, providerOption, readChosenCustody } from '../custody-settings.ts';
import { usageRefusals } from '../failure.ts';
import { withInterruption } from '../interruption.ts';
import { passphraseOption, listenOption, print, PROFILE, readPublicKey } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';

/** The one role of the trust root that this command makes; roots with more are written by hand. */
const ROLE = 'release-manager';
const MAX_CONNECTION_BYTES = 4096;

interface InitOptions {
  readonly mode: Mode;
  readonly origin: string;
  readonly person: readonly Pair[];
  readonly organisation: string;
  readonly quorum: number;
  readonly listen: { readonly host: string; readonly port: number };
  readonly name: readonly string[];
  readonly logDatabaseFile?: string;
  readonly custody?: CustodyProviderName;
  readonly custodySettings?: string;
  readonly passphraseFile?: string;
}

async function personOf({ name, value }: Pair, organisation: string): Promise<Person> {
  return { person: name, organisation, role: ROLE, publicKeys: [await readPublicKey(value)] };
}

/** RP-5; asked here because the rule itself speaks of logs that exist. */
function requireOriginOfMode(mode: Mode, origin: string): void {
  const evaluation = mode === 'evaluation';
  if (origin.endsWith(EVALUATION_ORIGIN_SUFFIX) === evaluation) return;
  throw usageRefusals.error('argument-invalid', {
    field: '--origin',
    expected: `a name that ${evaluation ? 'ends' : 'does not end'} in ${EVALUATION_ORIGIN_SUFFIX} in mode ${mode}`,
    found: origin,
  });
}

/** KC-80. Asked here, before anything is made or a passphrase is asked for. */
async function chosenCustody({ mode, custody, custodySettings }: InitOptions) {
  if (mode === 'production' && (custody === undefined || custody === 'file')) {
    throw usageRefusals.error('argument-invalid', {
      field: '--custody',
      expected: 'a custody outside of files in mode production',
      found: custody ?? 'none',
    });
  }
  return await readChosenCustody(custody ?? 'file', custodySettings);
}

/** A home without its profile is of no use, and `init` does not run over an existing home. */
async function writeProfileOrRemove(home: string, profile: ServerProfile): Promise<string> {
  const path = join(home, PROFILE);
  try {
    await writeServerProfile(path, profile);
    return path;
  } catch (error) {
    await rm(home, { recursive: true, force: true });
    throw error;
  }
}

/** In a file, since it may hold a password (CL-3). */
async function readConnection(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const [line = ''] = fromUtf8(await readFileBounded(file, MAX_CONNECTION_BYTES), file).split('\n', 1);
  return line.trim();
}

async function init(home: string, options: InitOptions): Promise<void> {
  const { mode, origin, organisation, quorum, listen, name } = options;
  requireOriginOfMode(mode, origin);
  const persons = await Promise.all(options.person.map((person) => personOf(person, organisation)));
  const trustRoot = createTrustRoot({ mode, persons, role: ROLE, quorumPersons: quorum });
  const custody = await chosenCustody(options);
  const database = await readConnection(options.logDatabaseFile);
  const passphrase = await readPassphrase(options.passphraseFile, `the new server ${home}`);
  const identity = await withInterruption((signal) =>
    createServerHome(
      {
        path: home,
        mode,
        origin,
        trustRoot,
        listen,
        names: name,
        database,
        passphrase,
        custody,
        clock: systemClock,
      },
      signal,
    ),
  );
  const host = name[0] ?? listen.host;
  const profile = await writeProfileOrRemove(home, {
    version: 1,
    address: `https://${host.includes(':') ? `[${host}]` : host}:${listen.port}`,
    authorityCertificate: identity.authorityCertificate,
    origin,
    mode,
    logKey: identity.logKey,
    bundleSigners: persons.flatMap(({ publicKeys }) => publicKeys),
  });
  print(`made ${home}; hand ${profile} to labs and auditors`);
}

/** `weightgate init`: the home of a new key-release server. */
export function registerInit(program: Command): void {
  program
    .command('init <home>')
    .description('make the home of a key-release server: keys, log, trust root, configuration')
    .addOption(
      new Option('--mode <mode>', 'fixed for ever; only evaluation accepts simulated hardware')
        .choices(MODES)
        .makeOptionMandatory(),
    )
    .requiredOption(
      '--origin <name>',
      'name of the log, without scheme; ends in /evaluation in that mode',
      originArgument,
    )
    .requiredOption(
      '--person <name=key>',
      'a person of the trust root and their public key, or their key file; several times',
      collectFiles,
    )
    .requiredOption('--organisation <name>', 'of these persons', displayNameArgument)
    .option(
      '--quorum <number>',
      'persons needed to start, promote or loosen anything',
      parsePositiveInteger,
      2,
    )
    .addOption(listenOption('where the server answers', '127.0.0.1:8443'))
    .addOption(
      new Option('--name <host>', 'name under which clients reach it; several times')
        .argParser(collectHosts)
        .default([], 'those of this machine'),
    )
    .option(
      '--log-database-file <file>',
      'file whose first line is the postgresql://… of an empty database for the log, for several servers; by default the log lies in the home',
    )
    .addOption(
      providerOption('--custody', 'who holds the wrapping keys; by default a file, in evaluation only'),
    )
    .addOption(custodySettingsOption())
    .addOption(passphraseOption())
    .action(init);
}
