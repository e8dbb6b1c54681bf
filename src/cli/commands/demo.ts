import type { Command } from 'commander';

import { playDemo } from '../demo/demo.ts';
import { withInterruption } from '../interruption.ts';

/** `weightgate demo`: the whole road, played with the commands that everybody uses. */
export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description('play the whole road once: seal, attest, release, serve, refuse, audit')
    .option('--once', 'end after the summary in place of letting the model answer on')
    .action(async (options: { once?: true }) => {
      await withInterruption((signal) => playDemo({ once: options.once === true, signal }));
    });
}
