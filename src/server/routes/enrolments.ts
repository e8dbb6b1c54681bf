/** `POST /v1/enrolments` and its activation (docs/spec/release-protocol.md section 3). */

import { fromBase64 } from '../../../attestation/core/bytes.ts';
import { decodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { readShape } from '../../platform/shape.ts';
import { activateEnrolment, beginEnrolment, type EnrolmentContext } from '../enrol.ts';
import {
  activationAnswerSchema,
  activationRequestSchema,
  ENROLMENT_REQUEST_TYPE,
  enrolmentAnswerSchema,
  enrolmentRequestSchema,
  envelopeBodySchema,
  MESSAGE_LIMITS,
} from '../messages.ts';
import { jsonAnswer, type PostRoute } from '../route.ts';

export function enrolmentRoutes(context: EnrolmentContext): readonly PostRoute[] {
  return [
    {
      method: 'post',
      path: '/v1/enrolments',
      summary: 'Begin the enrolment of a TPM: get a credential that only this TPM can open.',
      request: envelopeBodySchema,
      payload: { type: ENROLMENT_REQUEST_TYPE, schema: enrolmentRequestSchema },
      maxBodyBytes: MESSAGE_LIMITS.enrolment,
      answer: enrolmentAnswerSchema,
      handle: async ({ body }) => jsonAnswer(await beginEnrolment(context, body)),
    },
    {
      method: 'post',
      path: '/v1/enrolments/{enrolment}/activation',
      summary: 'End the enrolment of a TPM with the opened credential.',
      request: activationRequestSchema,
      maxBodyBytes: MESSAGE_LIMITS.activation,
      answer: activationAnswerSchema,
      handle: async ({ parameters, body }) => {
        const limits = { maxBytes: MESSAGE_LIMITS.activation };
        const document = decodeCanonicalJson(body, limits, 'request');
        const { credential } = readShape(activationRequestSchema, document, 'request');
        const answer = fromBase64(credential, 'request.credential');
        return jsonAnswer(await activateEnrolment(context, parameters['enrolment'] ?? '', answer));
      },
    },
  ];
}
