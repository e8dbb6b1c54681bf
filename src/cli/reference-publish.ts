/** `weightgate reference publish`: puts reference values in force, for all machines or for a share of them. */

import { InvalidArgumentError, type Command } from 'commander';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { systemClock } from '../platform/clock.ts';
import { displayNameArgument, identifierArgument, parsePositiveInteger } from './arguments.ts';
import { timeArgument } from './commands/evidence.ts';
import { usageRefusals } from './failure.ts';
import { passphraseOption, profileOption, signersOption, statementOption } from './options.ts';
import { checkReferenceDocument, readReferenceDocument } from './reference-documents.ts';
import { submitStatement, type SigningOptions } from './statement-submission.ts';

interface PublishOptions extends SigningOptions {
  readonly name: string;
  readonly epoch: number;
  readonly owner?: string;
  readonly validFrom?: number;
  readonly validUntil?: number;
  readonly rollout?: number;
}

function parsePercent(text: string): number {
  const percent = parsePositiveInteger(text);
  if (percent <= 100) return percent;
  throw new InvalidArgumentError('It must be a whole number from 1 to 100.');
}

type Limits = Record<'validFrom' | 'validUntil' | 'rolloutPercent', number> & { readonly owner: string };

/** Who gives one limit means all of them: there is no default end, and no values without somebody who answers for them. */
function limitsOf(options: PublishOptions): Limits | undefined {
  const { owner, validFrom, validUntil, rollout } = options;
  const given = [owner, validFrom, validUntil, rollout].some((value) => value !== undefined);
  if (!given) return undefined;
  if (owner === undefined || validUntil === undefined) {
    throw usageRefusals.error('argument-invalid', {
      field: owner === undefined ? '--owner' : '--valid-until',
      expected: 'both --owner and --valid-until where the values are limited',
      found: 'none',
    });
  }
  const from = validFrom ?? systemClock.posixSeconds();
  return { owner, validFrom: from, validUntil, rolloutPercent: rollout ?? 100 };
}

async function publish(file: string, options: PublishOptions): Promise<void> {
  const limits = limitsOf(options);
  const values: JsonValue = await readReferenceDocument(file);
  const { name, epoch } = options;
  const predicate = { deviceClass: checkReferenceDocument(values), name, epoch, values };
  if (limits === undefined) await submitStatement(options, 'reference-values/v1', () => predicate);
  else await submitStatement(options, 'reference-values/v2', () => ({ ...predicate, ...limits }));
}

export function registerPublish(reference: Command): void {
  reference
    .command('publish <file>')
    .description('put reference values in force; needs the quorum')
    .addOption(profileOption())
    .addOption(signersOption())
    .addOption(statementOption())
    .requiredOption('--name <name>', 'name of the reference values', identifierArgument)
    .requiredOption('--epoch <number>', 'higher than that of the values in force', parsePositiveInteger)
    .option('--owner <name>', 'who answers for the values', displayNameArgument)
    .option('--valid-from <time>', 'when they begin to count; now where it is not given', timeArgument)
    .option('--valid-until <time>', 'when they end', timeArgument)
    .option('--rollout <percent>', 'share of the machines for which they count', parsePercent)
    .addOption(passphraseOption())
    .action(publish);
}
