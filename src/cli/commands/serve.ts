import type { Command } from 'commander';

import { systemClock } from '../../platform/clock.ts';
import { createLogger } from '../../platform/logging.ts';
import { openServerHome } from '../../server/home.ts';
import { startServer } from '../../server/serve.ts';
import { untilAborted, withInterruption } from '../interruption.ts';
import { passphraseOption, print } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';

/** `weightgate serve`: the key-release server, until it is interrupted. */
export function registerServe(program: Command): void {
  program
    .command('serve <home>')
    .description('run the key-release server')
    .addOption(passphraseOption())
    .action(async (path: string, options: { passphraseFile?: string }) => {
      const passphrase = await readPassphrase(options.passphraseFile, path);
      await withInterruption(async (signal) => {
        const home = await openServerHome(path, passphrase, systemClock);
        const server = await startServer(home, createLogger(), systemClock);
        print(`serving ${server.address}`);
        await untilAborted(signal);
        await server.close();
      });
    });
}
