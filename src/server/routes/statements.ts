/** `POST /v1/statements` and `GET /v1/models/{manifestDigest}` (docs/spec/governance.md). */

import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../../attestation/core/canonical-json.ts';
import { excerpt } from '../../../attestation/core/bytes.ts';
import { holdsOn, type GovernanceState } from '../../governance/state.ts';
import { decodeEnvelope } from '../../platform/dsse.ts';
import { readShape } from '../../platform/shape.ts';
import {
  MESSAGE_LIMITS,
  modelAnswerSchema,
  statementAnswerSchema,
  statementRequestSchema,
  type ModelAnswer,
} from '../messages.ts';
import { routeRefusals } from '../refusals.ts';
import { jsonAnswer, type Route } from '../route.ts';
import { acceptStatement, type StatementContext } from '../statement.ts';

export function statementRoutes(context: StatementContext): readonly Route[] {
  return [
    {
      method: 'post',
      path: '/v1/statements',
      summary: 'Log the signed statement of one person.',
      request: statementRequestSchema,
      maxBodyBytes: MESSAGE_LIMITS.statement,
      answer: statementAnswerSchema,
      handle: async ({ body }) => {
        const limits = { maxBytes: MESSAGE_LIMITS.statement };
        const document = decodeCanonicalJson(body, limits, 'request');
        const { envelope } = readShape(statementRequestSchema, document, 'request');
        const bytes = encodeCanonicalJson(envelope as JsonValue);
        return jsonAnswer(await acceptStatement(context, decodeEnvelope(bytes, limits, 'request.envelope')));
      },
    },
    {
      method: 'get',
      path: '/v1/models/{manifestDigest}',
      summary: 'Read the phase of a model version and what holds it.',
      answer: modelAnswerSchema,
      handle: ({ parameters }) =>
        Promise.resolve(
          jsonAnswer(describeModel(context.governance.state, parameters['manifestDigest'] ?? '')),
        ),
    },
  ];
}

/** @throws RefusalError `model-unknown` */
function describeModel(state: GovernanceState, manifestDigest: string): ModelAnswer {
  const model = state.models.get(manifestDigest);
  if (model === undefined) {
    const facts = {
      field: 'manifestDigest',
      expected: 'a registered model version',
      found: excerpt(manifestDigest),
    };
    throw routeRefusals.error('model-unknown', facts);
  }
  const { registration, phase, phaseSince } = model;
  return {
    version: 1,
    manifestDigest,
    model: registration.model,
    modelVersion: registration.version,
    variant: registration.variant,
    inferencePolicyDigest: registration.inferencePolicyDigest,
    phase,
    phaseSince: phaseSince.at,
    holds: holdsOn(state, { manifestDigest }).map(({ payloadDigest, target, reason }) => ({
      hold: payloadDigest,
      kind: target.kind,
      reason,
    })),
  };
}
