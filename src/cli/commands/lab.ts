import { Option, type Command } from 'commander';

import type { Machine } from '../../governance/predicates.ts';
import { systemClock } from '../../platform/clock.ts';
import {
  collect,
  collectMachines,
  displayNameArgument,
  identifierArgument,
  jurisdictionArgument,
  parsePositiveInteger,
} from '../arguments.ts';
import {
  passphraseOption,
  profileOption,
  readPublicKey,
  signersOption,
  statementOption,
} from '../options.ts';
import { submitStatement, type SigningOptions } from '../statement-submission.ts';

interface AccreditOptions extends SigningOptions {
  readonly lab: string;
  readonly organisation: string;
  readonly jurisdiction: string;
  readonly labKey: readonly string[];
  readonly machine: readonly Machine[];
  readonly days: number;
}

const DAY_SECONDS = 86_400;

/** `weightgate lab accredit`: the owner lets a lab and its machines ask for keys. */
export function registerLab(program: Command): void {
  program
    .command('lab')
    .description('labs that may ask for keys')
    .command('accredit')
    .description('accredit a lab, its keys and its machines; needs the quorum of the trust root')
    .argument('<lab>', 'name of the lab', identifierArgument)
    .addOption(profileOption())
    .addOption(signersOption())
    .addOption(statementOption())
    .requiredOption('--organisation <name>', 'who runs the lab', displayNameArgument)
    .requiredOption(
      '--jurisdiction <code>',
      'where, as an ISO 3166 code, for example CH',
      jurisdictionArgument,
    )
    .requiredOption(
      '--lab-key <key>',
      'public key of the lab, as `key show` prints it, or its key file; several times',
      collect,
    )
    .addOption(
      new Option(
        '--machine <name=identity>',
        'a machine and what `weightgate agent identity` prints on it; several times',
      )
        .argParser(collectMachines)
        .default([], 'none'),
    )
    .option('--days <number>', 'how long the accreditation lasts', parsePositiveInteger, 365)
    .addOption(passphraseOption())
    .action(async (lab: string, options: AccreditOptions) => {
      await submitStatement(options, 'lab-accreditation/v1', async () => ({
        lab,
        organisation: options.organisation,
        jurisdiction: options.jurisdiction,
        publicKeys: await Promise.all(options.labKey.map(readPublicKey)),
        machines: [...options.machine],
        endsAt: systemClock.posixSeconds() + options.days * DAY_SECONDS,
      }));
    });
}
