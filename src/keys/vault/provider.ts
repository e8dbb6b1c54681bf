/** Custody in Vault as the home of a server has it, in either mode. */

import { join } from 'node:path';

import { z } from 'zod';

import { fromUtf8 } from '../../../attestation/core/bytes.ts';
import { readFileBounded } from '../../platform/files.ts';
import type { CustodyHome, CustodyProvider } from '../custody-provider.ts';
import { TransitClient } from './transit-client.ts';
import { createVaultKey, openVaultCustody } from './vault-custody.ts';

const MAX_PEM_BYTES = 256 * 1024;

const path = z.string().min(1).max(1000);

const settings = z.strictObject({
  /** `https://host:port` of Vault or OpenBao. */
  address: z.url({ protocol: /^https$/ }),
  /** Where the transit engine is mounted. */
  mount: z.string().regex(/^[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*$/),
  /** Name of a key that serves this server and nothing else. */
  key: z.string().regex(/^\w(?:[\w.-]{0,126}\w)?$/),
  /** File with the token, for its owner alone. */
  tokenFile: path,
  /** PEM of the authority of Vault's certificate. */
  authority: path,
  namespace: z
    .string()
    .regex(/^[\w./-]{1,200}$/)
    .nullable(),
});
type VaultSettings = z.infer<typeof settings>;

/** An absolute path stays as it is. */
function within(folder: string, name: string): string {
  return name.startsWith('/') ? name : join(folder, name);
}

async function connect(given: VaultSettings, { folder }: CustodyHome): Promise<TransitClient> {
  const authority = within(folder, given.authority);
  const authorityCertificate = fromUtf8(await readFileBounded(authority, MAX_PEM_BYTES), authority);
  const tokenFile = within(folder, given.tokenFile);
  const { address, mount, key, namespace } = given;
  return new TransitClient({ address, mount, key, namespace, authorityCertificate, tokenFile });
}

export const vaultCustodyProvider: CustodyProvider<VaultSettings> = {
  name: 'vault',
  settings,
  prepare: async (given, home) => {
    const client = await connect(given, home);
    try {
      await createVaultKey(client, given.key);
    } finally {
      client.close();
    }
  },
  open: async (given, home) => {
    const client = await connect(given, home);
    try {
      return await openVaultCustody(client, given.key);
    } catch (error) {
      client.close();
      throw error;
    }
  },
};
