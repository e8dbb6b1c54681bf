/** The kinds of custody that a server can be given: one row for each. */

import type { CustodyProviderName } from './custody.ts';
import { readyProvider, type ReadyProvider } from './custody-provider.ts';
import { fileCustodyProvider } from './file/provider.ts';
import { pkcs11CustodyProvider } from './pkcs11/provider.ts';
import { tpmCustodyProvider } from './tpm/provider.ts';
import { vaultCustodyProvider } from './vault/provider.ts';

const PROVIDERS: readonly ReadyProvider[] = [
  readyProvider(fileCustodyProvider),
  readyProvider(vaultCustodyProvider),
  readyProvider(tpmCustodyProvider),
  readyProvider(pkcs11CustodyProvider),
];

const BY_NAME = new Map(PROVIDERS.map((provider) => [provider.name, provider]));

/** The names that a home may be given, for the command line. */
export const PROVIDER_NAMES: readonly CustodyProviderName[] = [...BY_NAME.keys()];

export function providerOf(name: CustodyProviderName): ReadyProvider | undefined {
  return BY_NAME.get(name);
}
