import type { Command } from 'commander';

import type { HoldTarget } from '../../governance/predicates.ts';
import { collectDigests, digestArgument, identifierArgument, reasonArgument } from '../arguments.ts';
import { usageRefusals } from '../failure.ts';
import { passphraseOption, profileOption, signersOption, statementOption } from '../options.ts';
import { submitStatement, type SigningOptions } from '../statement-submission.ts';

interface HoldOptions extends SigningOptions {
  readonly model?: string;
  readonly lab?: string;
  readonly all?: true;
  readonly reason: string;
}

function targetOf({ model, lab, all }: HoldOptions): HoldTarget {
  const targets: HoldTarget[] = [
    ...(model === undefined ? [] : [{ kind: 'model', id: model } as const]),
    ...(lab === undefined ? [] : [{ kind: 'lab', id: lab } as const]),
    ...(all === undefined ? [] : [{ kind: 'all', id: 'all' } as const]),
  ];
  const [target] = targets;
  if (target !== undefined && targets.length === 1) return target;
  throw usageRefusals.error('argument-invalid', {
    field: 'hold',
    expected: 'one of --model, --lab and --all',
    found: `${targets.length} of them`,
  });
}

/** `weightgate hold` and `weightgate resume`: one person stops, only the quorum starts again (W8). */
export function registerHold(program: Command): void {
  program
    .command('hold')
    .description('stop grants and renewals at once; one signature is enough')
    .addOption(profileOption())
    .addOption(signersOption())
    .option('--model <digest>', 'manifest digest of the model version to stop', digestArgument)
    .option('--lab <lab>', 'lab to stop', identifierArgument)
    .option('--all', 'stop everything')
    .requiredOption('--reason <text>', 'why, for the log', reasonArgument)
    .addOption(passphraseOption())
    .action(async (options: HoldOptions) => {
      const target = targetOf(options);
      await submitStatement(options, 'hold/v1', () => ({ target, reason: options.reason }));
    });

  program
    .command('resume')
    .description('lift holds; needs the quorum')
    .argument('<hold...>', 'digests of the holds, as `release status` and `audit` print them', collectDigests)
    .addOption(profileOption())
    .addOption(signersOption())
    .addOption(statementOption())
    .requiredOption('--reason <text>', 'why, for the log', reasonArgument)
    .addOption(passphraseOption())
    .action(async (holds: readonly string[], options: SigningOptions & { reason: string }) => {
      await submitStatement(options, 'resume/v1', () => ({ holds: [...holds], reason: options.reason }));
    });
}
