/** Custody by a PKCS#11 token as a home has it (docs/spec/key-custody.md KC-64). */

import { isAbsolute, join } from 'node:path';

import { z } from 'zod';

import type { CustodyHome, CustodyProvider } from '../custody-provider.ts';
import { readSecretBytes } from '../secret-file.ts';
import { createPkcs11Custody, openPkcs11Custody, type Pkcs11CustodyOptions } from './pkcs11-custody.ts';

const textField = z.string().min(1).max(1000);

const settings = z.strictObject({
  /** Path of the library, or its name for the system's loader. */
  library: textField,
  /** CKA_LABEL of the token, at most 32 bytes on every token. */
  token: z.string().min(1).max(32),
  /** Serial number of the token; null takes the only one of the label. */
  serial: z.string().min(1).max(16).nullable(),
  /** CKA_LABEL of the wrapping keys. */
  key: z.string().min(1).max(64),
  /** The file whose first line is the PIN, for its owner alone. */
  pinFile: textField,
});
export type Pkcs11Settings = z.infer<typeof settings>;

async function withOptions<T>(
  { library, token, serial, key, pinFile }: Pkcs11Settings,
  { folder }: CustodyHome,
  use: (options: Pkcs11CustodyOptions) => Promise<T>,
): Promise<T> {
  const content = await readSecretBytes(isAbsolute(pinFile) ? pinFile : join(folder, pinFile));
  try {
    return await use({ library, label: token, serial, keyLabel: key, pin: firstLine(content) });
  } finally {
    content.fill(0);
  }
}

/** A view: nothing is copied that would have to be overwritten too. */
function firstLine(content: Uint8Array): Uint8Array {
  const end = content.findIndex((byte) => byte === 0x0a || byte === 0x0d);
  return end < 0 ? content : content.subarray(0, end);
}

export const pkcs11CustodyProvider: CustodyProvider<Pkcs11Settings> = {
  name: 'pkcs11',
  settings,
  prepare: async (given, home) => {
    await withOptions(given, home, createPkcs11Custody);
  },
  open: async (given, home) => await withOptions(given, home, openPkcs11Custody),
};
