/** A file custody that is made for one test and goes with it. */

import { join } from 'node:path';

import type { KeyCustody } from '../../src/keys/custody.ts';
import {
  createFileCustody,
  openFileCustody,
  type FileCustodyOptions,
} from '../../src/keys/file/file-custody.ts';
import { temporaryFolder } from './temporary-folder.ts';

const server = { mode: 'evaluation', origin: 'example.org/evaluation', passphrase: 'correct horse' } as const;

/** A new file with one wrapping key. */
export async function newWrappingKeyFile(): Promise<FileCustodyOptions> {
  const options = { ...server, path: join(await temporaryFolder(), 'wrapping-keys.json') };
  await createFileCustody(options);
  return options;
}

export async function newFileCustody(): Promise<KeyCustody> {
  return await openFileCustody(await newWrappingKeyFile());
}
