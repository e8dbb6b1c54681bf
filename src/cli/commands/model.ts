import type { Command } from 'commander';

import { toHex } from '../../../attestation/core/bytes.ts';
import { openBundleOf } from '../bundle.ts';
import { usageRefusals } from '../failure.ts';
import { readInferencePolicyFile } from '../inference-policy.ts';
import { passphraseOption, profileOption, signersOption, statementOption } from '../options.ts';
import { submitStatement, type SigningOptions } from '../statement-submission.ts';

const VARIANTS = ['base', 'aligned'] as const;

function variantOf(text: string): (typeof VARIANTS)[number] {
  const variant = VARIANTS.find((candidate) => candidate === text);
  if (variant !== undefined) return variant;
  throw usageRefusals.error('argument-invalid', {
    field: 'manifest.model.variant',
    expected: VARIANTS.join(' or '),
    found: text,
  });
}

/** `weightgate model register`: names a sealed bundle and the inference policy that it may run under. */
export function registerModel(program: Command): void {
  program
    .command('model')
    .description('model versions')
    .command('register <bundle>')
    .description('register a sealed bundle as a model version, in phase sealed; needs the quorum')
    .addOption(profileOption())
    .addOption(signersOption())
    .addOption(statementOption())
    .requiredOption('--policy <file>', 'the inference policy under which alone it may run')
    .addOption(passphraseOption())
    .action(async (bundlePath: string, options: SigningOptions & { readonly policy: string }) => {
      const { manifest } = await openBundleOf(bundlePath, options.profile);
      const policy = await readInferencePolicyFile(options.policy);
      await submitStatement(options, 'model-version/v1', () => ({
        model: manifest.model.name,
        version: manifest.model.version,
        variant: variantOf(manifest.model.variant),
        manifestDigest: manifest.digest,
        inferencePolicyDigest: toHex(policy.digest),
      }));
    });
}
