/** `POST /v1/challenges` and `POST /v1/releases` (docs/spec/release-protocol.md sections 4 and 5). */

import { decodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { readShape } from '../../platform/shape.ts';
import { openChallenge, type ChallengeContext } from '../challenge.ts';
import {
  challengeAnswerSchema,
  challengeRequestSchema,
  envelopeBodySchema,
  grantSchema,
  MESSAGE_LIMITS,
  RELEASE_REQUEST_TYPE,
  releaseRequestSchema,
} from '../messages.ts';
import { problemOf } from '../problems.ts';
import { release, type ReleaseContext } from '../release.ts';
import { jsonAnswer, type PostRoute } from '../route.ts';

export function releaseRoutes(context: ChallengeContext & ReleaseContext): readonly PostRoute[] {
  return [
    {
      method: 'post',
      path: '/v1/challenges',
      summary: 'Ask for a nonce that the evidence of one release request has to answer.',
      request: challengeRequestSchema,
      maxBodyBytes: MESSAGE_LIMITS.challenge,
      handsOut: 'challenges',
      answer: challengeAnswerSchema,
      handle: ({ body }) => {
        const document = decodeCanonicalJson(body, { maxBytes: MESSAGE_LIMITS.challenge }, 'request');
        const request = readShape(challengeRequestSchema, document, 'request');
        return Promise.resolve(jsonAnswer(openChallenge(context, request)));
      },
    },
    {
      method: 'post',
      path: '/v1/releases',
      summary: 'Ask for the key of a model, or for the renewal of a lease, with fresh evidence.',
      request: envelopeBodySchema,
      payload: { type: RELEASE_REQUEST_TYPE, schema: releaseRequestSchema },
      maxBodyBytes: MESSAGE_LIMITS.release,
      answer: grantSchema,
      handle: async ({ body }) => {
        const outcome = await release(context, body);
        if (outcome.outcome === 'granted') return jsonAnswer(outcome.grant);
        return { kind: 'problem', problem: problemOf('unacceptable', outcome.refusals) };
      },
    },
  ];
}
