import type { Command } from 'commander';

import { passphraseOption, profileOption, signersOption } from '../options.ts';
import { submitStatementFile, type SigningOptions } from '../statement-submission.ts';

/** `weightgate statement sign`: how the persons of a quorum sign at their own machines. */
export function registerStatement(program: Command): void {
  program
    .command('statement')
    .description('statements that somebody else made')
    .command('sign <file>')
    .description('show what a statement says, sign it and send the signature')
    .addOption(profileOption())
    .addOption(signersOption())
    .addOption(passphraseOption())
    .action(async (file: string, options: SigningOptions) => {
      await submitStatementFile(file, options);
    });
}
