/** Verifying what does not lie on this machine (SW-20): hashed as it comes, nothing kept. */

import { createHash } from 'node:crypto';

import { refuseDigest } from '../files.ts';
import type { SealedFile } from '../manifest.ts';
import type { PoolOptions } from '../pool.ts';
import { allStretches, readInOrder } from './in-order.ts';
import type { BundleSource } from './source.ts';

/**
 * Reads all files of a source and compares their digests.
 *
 * @throws RefusalError `sealed-file-digest`, `sealed-file-*`, `sealed-interrupted`, `source-*`
 */
export async function verifyInOrder(
  source: BundleSource,
  files: readonly SealedFile[],
  { signal, onProgress }: Pick<PoolOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let doneBytes = 0;
  let hash = createHash('sha256');
  for await (const { file, offset, content } of readInOrder(source, allStretches(files), { signal })) {
    hash.update(content);
    doneBytes += content.length;
    onProgress?.({ doneBytes, totalBytes });
    if (offset + content.length < file.bytes) continue;
    const found = hash.digest('hex');
    if (found !== file.sha256) refuseDigest(file, found);
    hash = createHash('sha256');
  }
}
