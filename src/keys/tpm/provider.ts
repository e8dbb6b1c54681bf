/** Custody by a TPM as a home has it (docs/spec/key-custody.md KC-49). */

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

import { z } from 'zod';

import type { CustodyHome, CustodyProvider } from '../custody-provider.ts';
import { tpmCustodyUsageRefusals } from './refusals.ts';
import { openTpmCustody, type TpmCustodyOptions } from './tpm-custody.ts';

const textField = z.string().min(1).max(1000);

const settings = z.strictObject({
  /** The custody file. */
  file: textField,
  /** The folder of approvals. */
  approvals: textField,
  /** TCTI text. */
  tpm: textField,
});
type TpmCustodySettings = z.infer<typeof settings>;

function optionsOf(
  { file, approvals, tpm }: TpmCustodySettings,
  { folder, mode, origin }: CustodyHome,
): TpmCustodyOptions {
  return {
    path: resolve(folder, file),
    approvals: resolve(folder, approvals),
    tpmAddress: tpm,
    mode,
    origin,
  };
}

export const tpmCustodyProvider: CustodyProvider<TpmCustodySettings> = {
  name: 'tpm',
  settings,
  // Between the making of a custody and its first opening somebody else signs an approval: it is made beforehand.
  prepare: (given, home) => {
    const { path } = optionsOf(given, home);
    if (existsSync(path)) return Promise.resolve();
    const facts = { field: path, expected: 'a custody file (KC-49)', found: 'none' };
    return Promise.reject(tpmCustodyUsageRefusals.error('custody-tpm-not-made', facts));
  },
  open: async (given, home) => await openTpmCustody(optionsOf(given, home)),
};
