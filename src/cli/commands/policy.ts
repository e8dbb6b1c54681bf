import type { Command } from 'commander';

import { fromUtf8 } from '../../../attestation/core/bytes.ts';
import { predicateSchemas } from '../../governance/predicates.ts';
import { readConfiguration } from '../../platform/configuration.ts';
import { readFileBounded } from '../../platform/files.ts';
import { passphraseOption, profileOption, signersOption, statementOption } from '../options.ts';
import { submitStatement, type SigningOptions } from '../statement-submission.ts';

const MAX_POLICY_BYTES = 48 * 1024;

/** Everything of a release policy but the Cedar text, which stands in files of its own. */
const settingsSchema = predicateSchemas['release-policy/v1'].omit({ cedar: true, statedAt: true });

async function readText(path: string): Promise<string> {
  return fromUtf8(await readFileBounded(path, MAX_POLICY_BYTES), path);
}

/** `weightgate policy publish`: puts a release policy in force. */
export function registerPolicy(program: Command): void {
  program
    .command('policy')
    .description('release policies')
    .command('publish <settings> <cedar...>')
    .description('put a release policy in force: settings (YAML) and Cedar files; needs the quorum')
    .addOption(profileOption())
    .addOption(signersOption())
    .addOption(statementOption())
    .addOption(passphraseOption())
    .action(async (settingsPath: string, cedarPaths: readonly string[], options: SigningOptions) => {
      const settings = await readConfiguration(settingsPath, settingsSchema);
      const cedar = (await Promise.all(cedarPaths.map(readText))).join('\n');
      await submitStatement(options, 'release-policy/v1', () => ({ ...settings, cedar }));
    });
}
