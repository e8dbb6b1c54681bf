/**
 * Homes of before there were files of wrapping keys hold one key in the keyring. It moves into a file of its own, once
 * (KC-22): it is removed there only when it is known to stand here, so that an interruption at any point loses nothing.
 */

import { existsSync } from 'node:fs';

import { openFormerWrappingKey, removeFormerWrappingKey } from '../keyring.ts';
import { createFileCustody, openFileCustody, type FileCustodyOptions } from './file-custody.ts';
import { UNNAMED_WRAPPING_KEY } from './wrapped-key.ts';

/**
 * @param keyringPath of the same home, under the same passphrase
 * @throws RefusalError as `openKeyring`, `createFileCustody` and `openFileCustody`
 */
export async function moveFormerWrappingKey(keyringPath: string, options: FileCustodyOptions): Promise<void> {
  const wrappingKey = await openFormerWrappingKey({ ...options, path: keyringPath });
  if (wrappingKey === undefined) return;
  try {
    if (!existsSync(options.path)) {
      await createFileCustody(options, { id: UNNAMED_WRAPPING_KEY, wrappingKey });
    }
  } finally {
    wrappingKey.fill(0);
  }
  if (await holdsFormerKey(options)) await removeFormerWrappingKey(keyringPath);
}

async function holdsFormerKey(options: FileCustodyOptions): Promise<boolean> {
  const custody = await openFileCustody(options);
  try {
    const { current, older } = await custody.wrappingKeys();
    return [current, ...older].includes(UNNAMED_WRAPPING_KEY);
  } finally {
    await custody.close();
  }
}
