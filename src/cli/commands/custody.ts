import { join } from 'node:path';

import type { Command } from 'commander';

import {
  custodyStatus,
  migrateCustody,
  retireWrappingKeys,
  rotateCustody,
  type CustodyMaintenance,
} from '../../keys/custody-maintenance.ts';
import type { CustodyProviderName } from '../../keys/custody.ts';
import { keyUsageRefusals } from '../../keys/refusals.ts';
import { takeProcessLock } from '../../platform/process-lock.ts';
import { HOME_PLACES } from '../../server/home-layout.ts';
import { openServerKeys } from '../../server/home.ts';
import { custodySettingsOption, providerOption, readChosenCustody } from '../custody-settings.ts';
import { passphraseOption, print, remark } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';
import { registerCustodyTpm } from './custody-tpm.ts';

interface CustodyOptions {
  readonly passphraseFile?: string;
}

interface MigrateOptions extends CustodyOptions {
  readonly to: CustodyProviderName;
  readonly custodySettings?: string;
}

const AFTERWARDS = 'the log of the server will say so: at once where it runs, otherwise when it is started';

async function withMaintenance<T>(
  path: string,
  options: CustodyOptions,
  work: (maintenance: CustodyMaintenance) => Promise<T>,
): Promise<T> {
  const keys = await openServerKeys(path, await readPassphrase(options.passphraseFile, path));
  const { custodyHome: home, custodies, modelKeys } = keys;
  try {
    return await work({ home, custodies, database: modelKeys.database });
  } finally {
    await keys.close();
  }
}

/** As `withMaintenance`, for what two commands at once would get in each other's way with. */
async function withLock<T>(
  path: string,
  options: CustodyOptions,
  work: (maintenance: CustodyMaintenance) => Promise<T>,
): Promise<T> {
  return await withMaintenance(path, options, async (maintenance) => {
    const lock = takeProcessLock(join(path, HOME_PLACES.custodyLock));
    if (lock === undefined) {
      const facts = { field: path, expected: 'no other command on this custody', found: 'one that runs' };
      throw keyUsageRefusals.error('custody-busy', facts);
    }
    try {
      return await work(maintenance);
    } finally {
      lock.release();
    }
  });
}

async function showStatus(path: string, options: CustodyOptions): Promise<void> {
  const status = await withMaintenance(path, options, custodyStatus);
  print(`custody ${status.number} by ${status.provider}: ${status.place}`);
  status.wrappingKeys.forEach(({ id, storedKeys }, index) => {
    print(`wrapping key ${id} ${index === 0 ? 'current' : 'older'}, ${storedKeys} stored keys`);
  });
  if (status.storedElsewhere > 0)
    print(`${status.storedElsewhere} stored keys are under the custody of before`);
}

async function rotate(path: string, options: CustodyOptions): Promise<void> {
  let moved = 0;
  const made = await withLock(path, options, (maintenance) =>
    rotateCustody(maintenance, () => {
      moved += 1;
    }),
  );
  print(made ? 'made a new wrapping key' : 'finished the rotation that was interrupted');
  print(`wrapped ${moved} stored keys anew`);
  remark(`${AFTERWARDS}. Older wrapping keys go with: weightgate custody retire`);
}

async function retire(path: string, options: CustodyOptions): Promise<void> {
  const retired = await withLock(path, options, retireWrappingKeys);
  print(retired.length === 0 ? 'no older wrapping key' : `retired ${retired.join(', ')}`);
  remark('Backups of the key store from before the rotation cannot be opened any more.');
}

async function migrate(path: string, options: MigrateOptions): Promise<void> {
  const to = await readChosenCustody(options.to, options.custodySettings);
  let moved = 0;
  await withLock(path, options, (maintenance) =>
    migrateCustody(maintenance, to, () => {
      moved += 1;
    }),
  );
  print(`moved ${moved} stored keys to custody by ${to.provider}`);
  remark(`${AFTERWARDS}. The wrapping keys of before are not removed where they were.`);
}

/** `weightgate custody`: who holds the wrapping keys of a home, and new ones for old. */
export function registerCustody(program: Command): void {
  const custody = program
    .command('custody')
    .description('wrapping keys of the model keys of a server home; a server may run meanwhile');
  custody
    .command('status <home>')
    .description('who holds the wrapping keys, and how many stored keys each wraps')
    .addOption(passphraseOption())
    .action(showStatus);
  custody
    .command('rotate <home>')
    .description(
      'make a new wrapping key and put every stored key under it; goes on where it was interrupted',
    )
    .addOption(passphraseOption())
    .action(rotate);
  custody
    .command('retire <home>')
    .description('forget the older wrapping keys, for good')
    .addOption(passphraseOption())
    .action(retire);
  custody
    .command('migrate <home>')
    .description('move every stored key to another custody; goes on where it was interrupted')
    .addOption(providerOption('--to', 'the new custody').makeOptionMandatory())
    .addOption(custodySettingsOption())
    .addOption(passphraseOption())
    .action(migrate);
  registerCustodyTpm(custody);
}
