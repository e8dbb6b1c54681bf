/** The log as static files over HTTP (C2SP tlog-tiles; TL-12, TL-13), for any server to mount. */

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { RefusalError } from '../../attestation/core/refusal.ts';
import type { PublishedLog } from './published-log.ts';
import { parseTilePath, type TileId } from './tiles.ts';

export interface StaticAnswer {
  readonly status: 200 | 404;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A checkpoint is news; everything else never changes. */
const CHECKPOINT_HEADERS = {
  'content-type': 'text/plain; charset=utf-8',
  'cache-control': 'public, max-age=1',
};
const TILE_HEADERS = {
  'content-type': 'application/octet-stream',
  'cache-control': 'public, max-age=31536000, immutable',
};
const MISSING_HEADERS = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };

/**
 * Answers for the paths `checkpoint` and `tile/…`, without the prefix under which they are mounted and without a
 * query. Every client gets the same answer.
 *
 * @param log whose newest checkpoint bounds what is served
 */
export function tileRoutes(log: {
  readonly published: PublishedLog;
}): (path: string) => Promise<StaticAnswer> {
  return async (path) => {
    const { published } = log;
    if (path === 'checkpoint') {
      return { status: 200, headers: CHECKPOINT_HEADERS, body: toUtf8(published.checkpoint.note) };
    }
    const tile = tileOf(path);
    const body = tile === undefined ? undefined : await published.tile(tile);
    if (body === undefined) return { status: 404, headers: MISSING_HEADERS, body: toUtf8('not found\n') };
    return { status: 200, headers: TILE_HEADERS, body };
  };
}

function tileOf(path: string): TileId | undefined {
  try {
    return parseTilePath(path);
  } catch (error) {
    if (error instanceof RefusalError) return undefined;
    throw error;
  }
}
