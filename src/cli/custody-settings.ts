/** Which custody a home is given, by the options that `init` and `custody migrate` share. */

import { Option } from 'commander';
import { z } from 'zod';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { CustodyProviderName } from '../keys/custody.ts';
import { PROVIDER_NAMES, providerOf } from '../keys/custody-providers.ts';
import { FILE_CUSTODY, type CustodyConfiguration } from '../keys/home-custodies.ts';
import { readConfiguration } from '../platform/configuration.ts';
import { usageRefusals } from './failure.ts';

export const custodySettingsOption = (): Option =>
  new Option(
    '--custody-settings <file>',
    'YAML with the settings of that custody; paths in it are best absolute',
  );

export const providerOption = (flag: string, description: string): Option =>
  new Option(`${flag} <kind>`, description).choices(PROVIDER_NAMES);

const anySettings = z.custom<JsonValue>((value) => value !== undefined);

/**
 * @param file that the operator wrote; file custody alone needs none
 * @throws RefusalError `argument-invalid`, `configuration-yaml`, `shape-mismatch`, `file-*`
 */
export async function readChosenCustody(
  provider: CustodyProviderName,
  file: string | undefined,
): Promise<Pick<CustodyConfiguration, 'provider' | 'settings'>> {
  if (file === undefined) {
    if (provider === 'file') return FILE_CUSTODY;
    throw usageRefusals.error('argument-invalid', {
      field: '--custody-settings',
      expected: `the settings of custody by ${provider}`,
      found: 'none',
    });
  }
  const settings = await readConfiguration(file, anySettings);
  providerOf(provider)?.check(settings);
  return { provider, settings };
}
