import type { Command } from 'commander';
import { parse } from 'yaml';

import { fromUtf8 } from '../../../attestation/core/bytes.ts';
import { predicateSchemas } from '../../governance/predicates.ts';
import { readFileBounded } from '../../platform/files.ts';
import { readShape } from '../../platform/shape.ts';
import { usageRefusals } from '../failure.ts';
import { collect, passphraseOption, profileOption } from '../options.ts';
import { submitStatement, type SigningOptions } from '../statement-submission.ts';

const MAX_POLICY_BYTES = 48 * 1024;

/** Everything of a release policy but the Cedar text, which stands in files of its own. */
const settingsSchema = predicateSchemas['release-policy/v1'].omit({ cedar: true, statedAt: true });

async function readText(path: string): Promise<string> {
  return fromUtf8(await readFileBounded(path, MAX_POLICY_BYTES), path);
}

async function readSettings(path: string) {
  const text = await readText(path);
  try {
    return readShape(settingsSchema, parse(text, { uniqueKeys: true, maxAliasCount: 0 }), path);
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'RefusalError') throw cause;
    throw usageRefusals.error(
      'argument-invalid',
      { field: path, expected: 'YAML', found: 'text that does not parse' },
      { cause },
    );
  }
}

/** `weightgate policy publish`: puts a release policy in force. */
export function registerPolicy(program: Command): void {
  program
    .command('policy')
    .description('release policies')
    .command('publish <settings> <cedar...>')
    .description('put a release policy in force: settings (YAML) and Cedar files; needs the quorum')
    .addOption(profileOption())
    .requiredOption('--key <file>', 'signing key of a person of the trust root; several times', collect)
    .addOption(passphraseOption())
    .action(async (settingsPath: string, cedarPaths: readonly string[], options: SigningOptions) => {
      const settings = await readSettings(settingsPath);
      const cedar = (await Promise.all(cedarPaths.map(readText))).join('\n');
      await submitStatement(options, 'release-policy/v1', () => ({ ...settings, cedar }));
    });
}
