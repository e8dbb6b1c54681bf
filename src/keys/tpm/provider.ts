/** Custody by a TPM as a home has it (docs/spec/key-custody.md KC-49). */

import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';

import { z } from 'zod';

import type { CustodyHome, CustodyProvider } from '../custody-provider.ts';
import { createTpmCustody } from './administration.ts';
import { readSignerFile } from './signer-file.ts';
import { openTpmCustody, type TpmCustodyOptions } from './tpm-custody.ts';

const pathField = z.string().min(1).max(1000);

const settings = z.strictObject({
  /** The custody file. */
  file: pathField,
  /** The folder of approvals. */
  approvals: pathField,
  /** TCTI text. */
  tpm: z.string().min(1).max(1000),
  /** PEM of the public key that approves. */
  signer: pathField,
  counterIndex: z.int().min(0x01000000).max(0x01ffffff),
  closingPcr: z.int().min(8).max(15).nullable(),
});
export type TpmCustodySettings = z.infer<typeof settings>;

/** The settings as options; paths are relative to the home. */
export function tpmCustodyOptions(
  { file, approvals, tpm }: TpmCustodySettings,
  { folder, mode, origin }: Pick<CustodyHome, 'folder' | 'mode' | 'origin'>,
): TpmCustodyOptions {
  const inHome = (path: string): string => (isAbsolute(path) ? path : join(folder, path));
  return { path: inHome(file), approvals: inHome(approvals), tpmAddress: tpm, mode, origin };
}

export const tpmCustodyProvider: CustodyProvider<TpmCustodySettings> = {
  name: 'tpm',
  settings,
  prepare: async (given, home) => {
    const options = tpmCustodyOptions(given, home);
    if (existsSync(options.path)) return;
    const { counterIndex, closingPcr } = given;
    const signer = await readSignerFile(
      isAbsolute(given.signer) ? given.signer : join(home.folder, given.signer),
    );
    await createTpmCustody({ ...options, signer, counterIndex, closingPcr });
  },
  open: async (given, home) => await openTpmCustody(tpmCustodyOptions(given, home)),
};
