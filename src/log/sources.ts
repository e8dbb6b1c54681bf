/** Where a log can be read from. */

import { join } from 'node:path';

import { RefusalError } from '../../attestation/core/refusal.ts';
import { readFileBounded } from '../platform/files.ts';
import type { PublishedLog } from './published-log.ts';
import type { LogSource } from './reader.ts';
import { tileRoutes } from './tile-routes.ts';
import { MAX_ENTRY_BYTES, TILE_WIDTH } from './tiles.ts';

/** The largest file of a log: a full bundle of the longest entries. */
export const MAX_LOG_FILE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES);

/** A folder with the static files of a log, as a mirror keeps them. */
export function folderSource(folder: string): LogSource {
  return async (path) => {
    try {
      return await readFileBounded(join(folder, path), MAX_LOG_FILE_BYTES);
    } catch (error) {
      if (error instanceof RefusalError && (error as RefusalError).refusal.code === 'file-not-found')
        return undefined;
      throw error;
    }
  };
}

/** The database of a server on this machine, through the same files that it would serve. */
export function publishedSource(log: { readonly published: PublishedLog }): LogSource {
  const route = tileRoutes(log);
  return async (path) => {
    const answer = await route(path);
    return answer.status === 200 ? answer.body : undefined;
  };
}
