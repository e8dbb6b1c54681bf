/** File custody as a home of mode evaluation has it. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { z } from 'zod';

import type { CustodyHome, CustodyProvider } from '../custody-provider.ts';
import { createFileCustody, openFileCustody, type FileCustodyOptions } from './file-custody.ts';
import { moveFormerWrappingKey } from './keyring-upgrade.ts';

const settings = z.strictObject({
  /** The file of wrapping keys. */
  file: z.string().min(1).max(1000),
  /** The keyring that may still hold the one wrapping key of an earlier server (KC-22). */
  keyring: z.string().min(1).max(1000),
});
type FileSettings = z.infer<typeof settings>;

function optionsOf({ file }: FileSettings, home: CustodyHome): FileCustodyOptions {
  const { folder, mode, origin, passphrase } = home;
  return { path: join(folder, file), mode, origin, passphrase };
}

export const fileCustodyProvider: CustodyProvider<FileSettings> = {
  name: 'file',
  settings,
  prepare: async (given, home) => {
    const options = optionsOf(given, home);
    if (!existsSync(options.path)) await createFileCustody(options);
  },
  open: async (given, home) => {
    const options = optionsOf(given, home);
    await moveFormerWrappingKey(join(home.folder, given.keyring), options);
    return await openFileCustody(options);
  },
};
