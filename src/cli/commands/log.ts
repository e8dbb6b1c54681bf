import { join } from 'node:path';

import type { Command } from 'commander';

import { fencePostgresLog } from '../../log/postgres-storage.ts';
import { createAdditionalHome } from '../../server/additional-home.ts';
import { readHomeConfiguration } from '../../server/home-configuration.ts';
import { HOME_PLACES } from '../../server/home-layout.ts';
import { usageRefusals } from '../failure.ts';
import { listenOption, print } from '../options.ts';

interface AddServerOptions {
  readonly listen: { readonly host: string; readonly port: number };
}

async function fence(home: string): Promise<void> {
  const { database } = (await readHomeConfiguration(home)).log;
  if (database === null) {
    throw usageRefusals.error('argument-invalid', {
      field: join(home, HOME_PLACES.configuration),
      expected: 'a log in PostgreSQL (log.database)',
      found: 'a log of one server',
    });
  }
  await fencePostgresLog(database);
  print('every server that has the log open stops at its next use of it; start again those that shall go on');
}

/** `weightgate log`: what the servers of one log need besides what each does by itself. */
export function registerLog(program: Command): void {
  const group = program.command('log').description('several servers on one log');
  group
    .command('add-server <home> <new-home>')
    .description('make the home of a further server on the log of a server')
    .addOption(listenOption('where the new server answers', '127.0.0.1:8444'))
    .action(async (from: string, path: string, { listen }: AddServerOptions) => {
      await createAdditionalHome({ from, path, listen });
      print(`made ${path}; give it a TLS certificate for its own address`);
    });
  group
    .command('fence <home>')
    .description(
      'shut out all servers that have the log open, after a restore, a fail-over or a server out of reach',
    )
    .action(fence);
}
