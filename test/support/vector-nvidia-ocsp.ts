/** Vectors of OCSP answers. */

import { toHex } from '../../attestation/core/bytes.ts';
import { isSignedBy } from '../../attestation/core/certificate-path.ts';
import { judge } from '../../attestation/core/verdict.ts';
import type { Certificate } from '../../attestation/core/x509.ts';
import { NVIDIA_AUTHORITIES } from '../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import { readOcspAnswer } from '../../attestation/nvidia-gpu/ocsp/answer.ts';
import { judgeRevocation, ocspCollateralName } from '../../attestation/nvidia-gpu/ocsp/appraise.ts';
import { fileOf, timeOf } from './vector-nvidia-case.ts';
import type { CaseOf } from './vector-nvidia-case.ts';
import { keyDigest, readPemCertificates, timeText } from './vector-nvidia-certificates.ts';
import { membersLine, refusalsOf } from './vector-nvidia-judgement.ts';
import type { CheckTable, KindJudge, Members } from './vector-nvidia-judgement.ts';

/** Older than any answer may be by its own word, so that its window alone decides. */
const MAX_AGE_SECONDS = 30 * 86_400;

const checks: CheckTable = {
  signature: ['ocsp-signature', 'ocsp-responder*', 'signature-*', 'der-*'],
  window: ['ocsp-not-yet-valid', 'ocsp-stale', 'ocsp-too-old'],
  status_good: ['ocsp-other-certificate', 'ocsp-revoked', 'ocsp-hold', 'ocsp-unknown'],
};

export const ocspJudge: KindJudge<CaseOf<'ocsp'>> = {
  checks,
  async refusals(subject) {
    const pair = await issuedPair(subject);
    const collateral = new Map([[ocspCollateralName(pair.certificate), fileOf(subject, 'response')]]);
    return refusalsOf(() =>
      judge(async (checklist) => ({
        known: await judgeRevocation(
          [pair],
          {
            collateral,
            time: timeOf(subject),
            maxAgeSeconds: MAX_AGE_SECONDS,
            missing: 'refuse',
            hold: 'refuse',
          },
          checklist,
        ),
      })),
    );
  },
  async *facts(subject) {
    const { id, parsed, expect } = subject.vector;
    const read = (): Members => answerMembers(fileOf(subject, 'response'));
    yield await membersLine(`${id}#parsed`, parsed, read, { failing: expect.failing, table: checks });
  },
};

/** The certificate and its issuer, whose chain ends at an authority of NVIDIA. */
async function issuedPair(
  subject: CaseOf<'ocsp'>,
): Promise<{ readonly certificate: Certificate; readonly issuer: Certificate }> {
  const chain = [
    ...readPemCertificates(fileOf(subject, 'certificate')),
    ...readPemCertificates(fileOf(subject, 'issuer_chain')),
  ];
  const [certificate, issuer] = chain;
  const root = chain.at(-1);
  if (certificate === undefined || issuer === undefined || root === undefined)
    throw new Error('a certificate without its issuer');
  const pinned = NVIDIA_AUTHORITIES.some(({ publicKeyDigest }) => publicKeyDigest === keyDigest(root));
  const signed = await Promise.all(
    chain.map((one, i) => isSignedBy(one, chain[i + 1] ?? root, `chain[${i}]`)),
  );
  if (!pinned || !signed.every(Boolean)) throw new Error(`${subject.vector.id}: not a chain of NVIDIA`);
  return { certificate, issuer };
}

function answerMembers(bytes: Uint8Array): Members {
  const answer = readOcspAnswer(bytes, 'response');
  if ('responseStatus' in answer) return { ...answer };
  const { certificateId, responderId } = answer;
  return {
    cert_status: answer.status.status,
    this_update: timeText(answer.thisUpdate),
    next_update: timeText(answer.nextUpdate),
    // An identifier of another hash is not read.
    hash_algorithm: 'sha384',
    responder_id: responderId.by === 'key' ? toHex(responderId.keyHash).toUpperCase() : responderId.by,
    serial: toHex(certificateId.serialNumber).replace(/^00/, '').toUpperCase(),
    nonce: answer.nonce !== undefined,
  };
}
