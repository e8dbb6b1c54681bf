import type { Command } from 'commander';

import { fetchBundle } from '../../sealed/source/fetch.ts';
import { bundleTrustOf, openSourceOf, tokenOption } from '../bundle.ts';
import { withInterruption } from '../interruption.ts';
import { print, profileOption } from '../options.ts';
import { progressLine } from '../progress.ts';

interface FetchOptions {
  readonly profile: string;
  readonly out: string;
  readonly tokenFile?: string;
}

/** `weightgate bundle fetch`: a bundle from a mirror to a folder, every byte verified; goes on where it was stopped. */
export function registerBundleFetch(bundle: Command): void {
  bundle
    .command('fetch')
    .argument('<address>', 'the http(s) address of the bundle on a mirror')
    .description('fetch a sealed bundle from a mirror and verify it; goes on where it was interrupted')
    .addOption(profileOption())
    .requiredOption('--out <folder>', 'where the bundle shall stand; must not be there yet')
    .addOption(tokenOption())
    .action(async (address: string, { profile, out, ...options }: FetchOptions) => {
      const trust = await bundleTrustOf(profile);
      const source = await openSourceOf(address, options);
      const progress = progressLine('fetching');
      const { files, totalBytes, manifest } = await withInterruption((signal) =>
        fetchBundle(source, trust, out, { signal, onProgress: progress.update }),
      ).finally(progress.finish);
      print(`fetched ${files.size} files, ${totalBytes} bytes, manifest ${manifest.digest}`);
    });
}
