import type { Command } from 'commander';

import { openBundleOf } from '../bundle.ts';
import { withInterruption } from '../interruption.ts';
import { print, profileOption } from '../options.ts';
import { progressLine } from '../progress.ts';

/** `weightgate verify`: whether every byte of a sealed bundle is the one that its manifest was signed over. */
export function registerVerify(program: Command): void {
  program
    .command('verify <bundle>')
    .description('check a sealed bundle byte for byte against its signed manifest; needs no key')
    .addOption(profileOption())
    .action(async (path: string, options: { readonly profile: string }) => {
      const bundle = await openBundleOf(path, options.profile);
      const progress = progressLine('verifying');
      try {
        await withInterruption((signal) => bundle.verify({ signal, onProgress: progress.update }));
      } finally {
        progress.finish();
      }
      print(
        `verified ${bundle.files.size} files, ${bundle.totalBytes} bytes, manifest ${bundle.manifest.digest}`,
      );
    });
}
