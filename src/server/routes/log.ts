/** The log as static files (docs/spec/release-log.md, TL-12). */

import type { PublishedLog } from '../../log/published-log.ts';
import { tileRoutes } from '../../log/tile-routes.ts';
import type { GetRoute, RouteAnswer } from '../route.ts';

export function logRoutes(log: { readonly published: PublishedLog }): readonly GetRoute[] {
  const read = tileRoutes(log);
  const answer = async (path: string): Promise<RouteAnswer> => ({ kind: 'bytes', ...(await read(path)) });
  return [
    {
      method: 'get',
      path: '/log/checkpoint',
      summary: 'Read the newest signed checkpoint (C2SP tlog-checkpoint).',
      answer: undefined,
      handle: () => answer('checkpoint'),
    },
    {
      method: 'get',
      path: '/log/tile/{rest}',
      summary: 'Read a tile or a bundle of entries (C2SP tlog-tiles).',
      answer: undefined,
      handle: ({ parameters }) => answer(`tile/${parameters['rest'] ?? ''}`),
    },
  ];
}
