/** Custody in a stand-in of Vault, as a new home is told of it. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { NewHome } from '../../src/server/new-home.ts';
import { temporaryFolder } from './temporary-folder.ts';
import type { TransitService } from './transit-service.ts';

export async function vaultCustody(vault: TransitService): Promise<NonNullable<NewHome['custody']>> {
  const folder = await temporaryFolder();
  const tokenFile = join(folder, 'token');
  const authority = join(folder, 'vault.pem');
  await writeFile(tokenFile, vault.token, { mode: 0o600 });
  await writeFile(authority, vault.authorityCertificate);
  const { address } = vault;
  const settings = { address, mount: 'transit', key: 'weightgate', namespace: null, tokenFile, authority };
  return { provider: 'vault', settings };
}
