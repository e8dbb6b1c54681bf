/** What the server says of itself, and whether it can decide. */

import type { GovernanceLog } from '../governance-log.ts';
import { healthAnswerSchema, serverAnswerSchema, type ServerAnswer } from '../messages.ts';
import { capacityRefusals } from '../refusals.ts';
import { jsonAnswer, type GetRoute } from '../route.ts';

export interface AboutContext {
  readonly governance: GovernanceLog;
  readonly serverBuild: string;
}

export function aboutRoutes({ governance, serverBuild }: AboutContext): readonly GetRoute[] {
  return [
    {
      method: 'get',
      path: '/v1/server',
      summary: 'Read origin, mode and log key. A caller that trusts them has them by another way already.',
      answer: serverAnswerSchema,
      handle: () => {
        const { origin, mode, logKey } = governance.state;
        const answer: ServerAnswer = { version: 1, origin, mode, logKey, releaseBuild: serverBuild };
        return Promise.resolve(jsonAnswer(answer));
      },
    },
    {
      method: 'get',
      path: '/healthz',
      summary: 'Learn whether the server can decide.',
      answer: healthAnswerSchema,
      handle: () => {
        if (governance.isStopped) {
          const facts = { field: 'log', expected: 'a log that can be written', found: 'one that failed' };
          throw capacityRefusals.error('server-stopped', facts);
        }
        return Promise.resolve(jsonAnswer({ version: 1, status: 'ok' }));
      },
    },
  ];
}
