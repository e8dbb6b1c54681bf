import type { Command } from 'commander';

import { BUNDLE_ARGUMENT, openBundleOf, tokenOption } from '../bundle.ts';
import { withInterruption } from '../interruption.ts';
import { print, profileOption } from '../options.ts';
import { progressLine } from '../progress.ts';

interface VerifyOptions {
  readonly profile: string;
  readonly tokenFile?: string;
}

/** `weightgate verify`: whether every byte of a sealed bundle is the one that its manifest was signed over. */
export function registerVerify(program: Command): void {
  program
    .command('verify')
    .argument('<bundle>', BUNDLE_ARGUMENT)
    .description('check a sealed bundle byte for byte against its signed manifest; needs no key')
    .addOption(profileOption())
    .addOption(tokenOption())
    .action(async (location: string, { profile, ...options }: VerifyOptions) => {
      const progress = progressLine('verifying');
      const bundle = await withInterruption(async (signal) => {
        const opened = await openBundleOf(location, profile, { ...options, signal });
        await opened.verify({ signal, onProgress: progress.update });
        return opened;
      }).finally(progress.finish);
      print(
        `verified ${bundle.files.size} files, ${bundle.totalBytes} bytes, manifest ${bundle.manifest.digest}`,
      );
    });
}
