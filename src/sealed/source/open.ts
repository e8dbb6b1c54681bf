/** From what an operator names to the source that it is. */

import { isAddress } from './address.ts';
import { FolderSource } from './folder-source.ts';
import { HttpSource } from './http-source.ts';
import type { MirrorOptions } from './mirror.ts';
import type { BundleSource } from './source.ts';

/**
 * @param location a folder, or the address of a mirror
 * @throws RefusalError `source-address`, `source-credential`, `file-not-found`
 */
export async function openSource(location: string, options: MirrorOptions = {}): Promise<BundleSource> {
  return isAddress(location) ? new HttpSource(location, options) : await FolderSource.at(location);
}
