import { Option, type Command } from 'commander';

import { parseVerifierKey, isKeyName } from '../../log/verifier-key.ts';
import { systemClock } from '../../platform/clock.ts';
import { createLogger } from '../../platform/logging.ts';
import { createWitnessHome, openWitnessHome } from '../../server/witness/home.ts';
import { startWitness } from '../../server/witness/serve.ts';
import { collect, collectHosts, type ListenAddress } from '../arguments.ts';
import { usageRefusals } from '../failure.ts';
import { untilAborted, withInterruption } from '../interruption.ts';
import { listenOption, passphraseOption, print } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';

interface InitOptions {
  readonly name: string;
  readonly log: readonly string[];
  readonly listen: ListenAddress;
  readonly host: readonly string[];
  readonly passphraseFile?: string;
}

/** Logs of ours have their origin as the name of their key; others are written into the configuration. */
function logOf(verifierKey: string): { origin: string; keys: string[] } {
  const { name } = parseVerifierKey(verifierKey, '--log');
  return { origin: name, keys: [verifierKey] };
}

async function init(path: string, options: InitOptions): Promise<void> {
  const { name, log, listen, host: hosts, passphraseFile } = options;
  if (!isKeyName(name)) {
    const expected = 'a name without spaces and plus signs, like witness.example.org';
    throw usageRefusals.error('argument-invalid', { field: '--name', expected, found: name });
  }
  const logs = log.map(logOf);
  const passphrase = await readPassphrase(passphraseFile, `the key of the new witness ${path}`);
  const home = { path, name, listen, hosts, logs, passphrase, clock: systemClock };
  const { verifierKey } = await createWitnessHome(home);
  print(verifierKey);
}

async function serve(path: string, { passphraseFile }: { passphraseFile?: string }): Promise<void> {
  const passphrase = await readPassphrase(passphraseFile, path);
  await withInterruption(async (signal) => {
    const home = await openWitnessHome(path, passphrase);
    const witness = await startWitness(home, createLogger(), systemClock);
    print(`serving ${witness.address}`);
    await untilAborted(signal);
    await witness.close();
  });
}

/** `weightgate witness init|serve`: a witness of logs, ours or others'. */
export function registerWitness(program: Command): void {
  const witness = program.command('witness').description('cosign checkpoints of logs that only grow');

  witness
    .command('init <home>')
    .description('make the home of a witness, and print its verifier key')
    .requiredOption('--name <name>', 'name of the witness, without scheme; stands in its cosignatures')
    .addOption(
      new Option('--log <key>', 'verifier key of a log that is named as its origin; several times')
        .argParser(collect)
        .default([], 'none; see witness.yaml'),
    )
    .addOption(listenOption('where the witness answers', '127.0.0.1:8444'))
    .addOption(
      new Option('--host <name>', 'name under which logs reach it; several times')
        .argParser(collectHosts)
        .default([], 'those of this machine'),
    )
    .addOption(passphraseOption())
    .action(init);

  witness.command('serve <home>').description('run the witness').addOption(passphraseOption()).action(serve);
}
