import { join } from 'node:path';

import { Option, type Command } from 'commander';

import { toBase64 } from '../../../attestation/core/bytes.ts';
import { MODES, type Mode } from '../../governance/fields.ts';
import { createTrustRoot, type Person } from '../../governance/trust-root.ts';
import { readSigningKeyIdentity } from '../../keys/signing-key.ts';
import { systemClock } from '../../platform/clock.ts';
import { writeServerProfile } from '../../platform/server-profile.ts';
import { createServerHome } from '../../server/new-home.ts';
import { withInterruption } from '../interruption.ts';
import {
  collect,
  parseListen,
  collectPairs,
  type Pair,
  parsePositiveInteger,
  passphraseOption,
  print,
} from '../options.ts';
import { readPassphrase } from '../passphrase.ts';

/** The one role of the trust root that this command makes; roots with more are written by hand. */
const ROLE = 'release-manager';

interface InitOptions {
  readonly mode: Mode;
  readonly origin: string;
  readonly person: readonly Pair[];
  readonly organisation: string;
  readonly quorum: number;
  readonly listen: { readonly host: string; readonly port: number };
  readonly name: readonly string[];
  readonly passphraseFile?: string;
}

async function personOf({ name, value }: Pair, organisation: string): Promise<Person> {
  const { publicKey } = await readSigningKeyIdentity(value);
  return { person: name, organisation, role: ROLE, publicKeys: [toBase64(publicKey)] };
}

async function init(home: string, options: InitOptions): Promise<void> {
  const { mode, origin, organisation, quorum, listen, name } = options;
  const persons = await Promise.all(options.person.map((person) => personOf(person, organisation)));
  const trustRoot = createTrustRoot({ mode, persons, role: ROLE, quorumPersons: quorum });
  const passphrase = await readPassphrase(options.passphraseFile, `the new server ${home}`);
  const identity = await withInterruption((signal) =>
    createServerHome(
      { path: home, mode, origin, trustRoot, listen, names: name, passphrase, clock: systemClock },
      signal,
    ),
  );
  const host = name[0] ?? listen.host;
  const profile = join(home, 'profile.json');
  await writeServerProfile(profile, {
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
    .requiredOption('--origin <name>', 'name of the log, without scheme; ends in /evaluation in that mode')
    .requiredOption(
      '--person <name=keyfile>',
      'a person of the trust root and their signing key; several times',
      collectPairs,
    )
    .requiredOption('--organisation <name>', 'of these persons')
    .option(
      '--quorum <number>',
      'persons needed to start, promote or loosen anything',
      parsePositiveInteger,
      2,
    )
    .option('--listen <host:port>', 'where the server answers', parseListen, {
      host: '127.0.0.1',
      port: 8443,
    })
    .option('--name <host>', 'name under which clients reach it; several times', collect, [])
    .addOption(passphraseOption())
    .action(init);
}
