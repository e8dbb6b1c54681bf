/** The agent's side of an enrolment by certification (docs/spec/tpm-identity.md, section 3). */

import { z } from 'zod';

import { fromBase64, toBase64, toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { computeCertificationBinding } from '../../attestation/tpm/certification-binding.ts';
import type { PresentedCertification } from '../../attestation/tpm/certify.ts';
import { decodePublicArea } from '../../attestation/tpm/layout.ts';
import { computeName } from '../../attestation/tpm/name.ts';
import { encodeEnvelope, signEnvelope } from '../platform/dsse.ts';
import { readShape } from '../platform/shape.ts';
import { enrolledSchema, type KeyReleaseOptions, proveEnrolment } from './key-release.ts';

const CERTIFICATION_REQUEST_TYPE = 'application/vnd.weightgate.certification-request.v1+json';

const challengeSchema = z.strictObject({
  version: z.literal(1),
  certification: z.string().min(1).max(100),
  nonce: z.string(),
  expiresAt: z.int(),
});

/** A TPM with an enrolled key and another one that is to be enrolled. */
export interface CertifyingTpm {
  /** TPMT_PUBLIC of the enrolled key. */
  readonly certifyingKey: Uint8Array;
  /** TPMT_PUBLIC of the key to enrol. */
  readonly attestationKey: Uint8Array;
  certify(qualifyingData: Uint8Array): Promise<PresentedCertification>;
}

/**
 * Enrols a further key of a TPM by the word of its enrolled one, and proves that the server logged it.
 *
 * @returns Name of the key, lower-case hex
 * @throws RefusalError what the server refuses, `tpm-*`, `server-*`, `log-*`, `enrolment-name`
 */
export async function enrolByCertification(
  options: Pick<KeyReleaseOptions, 'client' | 'profile' | 'lab' | 'labSigner' | 'witnesses'>,
  tpm: CertifyingTpm,
): Promise<string> {
  const { client, lab, labSigner, profile } = options;
  const request = encodeCanonicalJson({
    version: 1,
    lab,
    certifyingKey: toBase64(tpm.certifyingKey),
    attestationKey: toBase64(tpm.attestationKey),
  });
  const envelope = await signEnvelope(CERTIFICATION_REQUEST_TYPE, request, [labSigner]);
  const answer = await client.post('/v1/certifications', encodeEnvelope(envelope));
  const { certification, nonce } = readShape(challengeSchema, answer, 'certification');
  const attestationKeyName = computeName(decodePublicArea(tpm.attestationKey, 'attestationKey'));
  const { attest, signature } = await tpm.certify(
    computeCertificationBinding({
      nonce: fromBase64(nonce, 'certification.nonce'),
      lab,
      logOrigin: profile.origin,
      certifyingKeyName: computeName(decodePublicArea(tpm.certifyingKey, 'certifyingKey')),
      attestationKeyName,
    }),
  );
  const statement = encodeCanonicalJson({
    version: 1,
    attest: toBase64(attest),
    signature: toBase64(signature),
  });
  const path = `/v1/certifications/${encodeURIComponent(certification)}/statement`;
  const enrolled = readShape(enrolledSchema, await client.post(path, statement), 'enrolment');
  await proveEnrolment(options, enrolled, toHex(attestationKeyName));
  return toHex(attestationKeyName);
}
