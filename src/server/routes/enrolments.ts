/** Enrolment by credential (docs/spec/release-protocol.md section 3) and by certification (tpm-identity.md section 3). */

import { fromBase64 } from '../../../attestation/core/bytes.ts';
import { decodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { readShape } from '../../platform/shape.ts';
import { beginCertification, endCertification } from '../certify.ts';
import { activateEnrolment, beginEnrolment, type EnrolmentContext } from '../enrol.ts';
import {
  activationAnswerSchema,
  activationRequestSchema,
  CERTIFICATION_REQUEST_TYPE,
  certificationAnswerSchema,
  certificationRequestSchema,
  certificationStatementSchema,
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
      handsOut: 'enrolments',
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
    {
      method: 'post',
      path: '/v1/certifications',
      summary: 'Begin the enrolment of a further key of an enrolled TPM: get a nonce for its certification.',
      request: envelopeBodySchema,
      payload: { type: CERTIFICATION_REQUEST_TYPE, schema: certificationRequestSchema },
      maxBodyBytes: MESSAGE_LIMITS.certification,
      handsOut: 'enrolments',
      answer: certificationAnswerSchema,
      handle: async ({ body }) => jsonAnswer(await beginCertification(context, body)),
    },
    {
      method: 'post',
      path: '/v1/certifications/{certification}/statement',
      summary: 'End the enrolment of a further key with the statement of the enrolled one.',
      request: certificationStatementSchema,
      maxBodyBytes: MESSAGE_LIMITS.certification,
      answer: activationAnswerSchema,
      handle: async ({ parameters, body }) => {
        const limits = { maxBytes: MESSAGE_LIMITS.certification };
        const document = decodeCanonicalJson(body, limits, 'request');
        const statement = readShape(certificationStatementSchema, document, 'request');
        return jsonAnswer(await endCertification(context, parameters['certification'] ?? '', statement));
      },
    },
  ];
}
