/** Whether an OCSP answer is the issuer's and says something now about one certificate (docs/spec/nvidia-revocation.md). */

import { equalBytes, toHex } from '../../core/bytes.ts';
import type { CertificateMemory } from '../../core/certificate-memory.ts';
import { remembered } from '../../core/certificate-memory.ts';
import { readSubjectPublicKeyInfo } from '../../core/public-key.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { readEcdsaSignature, verifySignature } from '../../core/signature.ts';
import type { Certificate } from '../../core/x509.ts';
import { readOcspAnswer } from './answer.ts';
import type { ClaimedOcspAnswer } from './answer.ts';
import { certificateIdOf, equalCertificateIds, showCertificateId } from './certificate-id.ts';
import { authorisedResponder } from './responder.ts';

export const ocspRefusals = defineRefusals('inauthentic', {
  'ocsp-unanswered': {
    means: 'A responder refused to answer.',
    hint: 'Try again later; if it goes on, the responder does not know the issuer of this certificate.',
  },
  'ocsp-other-certificate': {
    means: 'An OCSP answer is about another certificate.',
    hint: 'Answers were mixed up, or one was put in the place of another.',
  },
  'ocsp-algorithm': {
    means: 'An OCSP answer is signed with an algorithm or key that NVIDIA’s responders do not have.',
    hint: 'Accepted is ECDSA with SHA-384 on P-384.',
  },
  'ocsp-signature': {
    means: 'An OCSP answer is not signed by its responder.',
    hint: 'The answer was altered; fetch it again.',
  },
  'ocsp-not-yet-valid': {
    means: 'An OCSP answer is from the future.',
    hint: 'Check the clock of the verifier.',
  },
  'ocsp-stale': {
    means: 'An OCSP answer is past its next update.',
    hint: 'Fetch a current answer: a revocation since then would not show in this one.',
  },
  'ocsp-too-old': {
    means: 'An OCSP answer is older than the verifier accepts.',
    hint: 'Fetch a current answer, or have the operator accept older ones.',
  },
  'ocsp-nonce': {
    means: 'An OCSP answer does not carry the nonce that was sent.',
    hint: 'It may be an old answer, handed out again: ask the responder directly.',
  },
});

/** `hold`: revoked with the reason certificateHold, which NVIDIA gives to signers of software before its release. */
export type CertificateStatus = 'good' | 'revoked' | 'hold' | 'unknown';

/** What a responder says of a certificate. Times are POSIX seconds. */
export interface OcspStatus {
  readonly status: CertificateStatus;
  readonly producedAt: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Undefined for a certificate that is not revoked. */
  readonly revokedAt: number | undefined;
  /** CRLReason (RFC 5280 section 5.3.1); undefined when none is given. */
  readonly reason: number | undefined;
}

export interface OcspQuestion {
  readonly certificate: Certificate;
  /** The caller knows it to be authentic. */
  readonly issuer: Certificate;
  /** POSIX seconds. */
  readonly time: number;
  /** How long after its thisUpdate an answer counts, even if it says that it is good for longer. */
  readonly maxAgeSeconds: number;
  /** What was sent along; undefined for an answer that somebody else fetched. */
  readonly nonce?: Uint8Array | undefined;
  /** Makes it faster and decides nothing. */
  readonly memory?: CertificateMemory | undefined;
}

/** How far the responder's clock may be ahead of ours. */
const CLOCK_TOLERANCE_SECONDS = 60;

const CERTIFICATE_HOLD = 6;
const FIELD = 'ocsp';

/**
 * Verifies an answer and tells the status. That it is authentic says nothing about whether the status will do.
 *
 * @param bytes DER of an OCSPResponse
 * @throws RefusalError `ocsp-*`, `der-*`, `certificate-*`, `public-key-*`, `signature-*`
 */
export async function verifyOcspAnswer(bytes: Uint8Array, question: OcspQuestion): Promise<OcspStatus> {
  const { memory } = question;
  const answer = remembered(memory, 'ocsp', bytes, (copy) => readOcspAnswer(copy, FIELD));
  if ('responseStatus' in answer) throw refuse('ocsp-unanswered', 'an answer', answer.responseStatus);
  demandSubject(answer, question);
  const { issuer, time } = question;
  const inputs = { issuer, time, memory };
  const responder = await authorisedResponder(answer.responder, answer.responderId, inputs);
  await demandSignature(answer, responder, memory);
  demandTime(answer, question);
  demandNonce(answer, question.nonce);
  return statusOf(answer);
}

function refuse(code: keyof typeof ocspRefusals.codes, expected: string, found: string): Error {
  return ocspRefusals.error(code, { field: FIELD, expected, found });
}

function demandSubject({ certificateId }: ClaimedOcspAnswer, { certificate, issuer }: OcspQuestion): void {
  const expected = certificateIdOf(certificate, issuer);
  if (equalCertificateIds(certificateId, expected)) return;
  throw refuse('ocsp-other-certificate', showCertificateId(expected), showCertificateId(certificateId));
}

async function demandSignature(
  answer: ClaimedOcspAnswer,
  responder: Certificate,
  memory: CertificateMemory | undefined,
): Promise<void> {
  const key = readSubjectPublicKeyInfo(responder.subjectPublicKeyInfo, `${FIELD}.responder.publicKey`);
  const { algorithm, hash } = answer.signatureScheme;
  if (key.type !== 'ec' || key.curve !== 'P-384' || algorithm !== 'ecdsa' || hash !== 'SHA-384') {
    const found = `${algorithm} with ${hash} and a key of type ${key.type === 'ec' ? key.curve : key.type}`;
    throw refuse('ocsp-algorithm', 'ECDSA with SHA-384 on P-384', found);
  }
  const signature = readEcdsaSignature(answer.signature, key.curve, `${FIELD}.signature`);
  const verify = (): Promise<boolean> =>
    verifySignature(key, answer.signatureScheme, signature, answer.tbsResponseData);
  const holds = memory === undefined ? await verify() : await memory.holds(answer, responder, verify);
  if (!holds) throw refuse('ocsp-signature', 'a signature by the responder', 'one that does not verify');
}

function demandTime(answer: ClaimedOcspAnswer, { time, maxAgeSeconds }: OcspQuestion): void {
  const { producedAt, thisUpdate, nextUpdate } = answer;
  const start = Math.max(producedAt, thisUpdate) - CLOCK_TOLERANCE_SECONDS;
  if (time < start) throw refuse('ocsp-not-yet-valid', `from ${start}`, String(time));
  if (time >= nextUpdate) throw refuse('ocsp-stale', `before ${nextUpdate}`, String(time));
  if (time - thisUpdate > maxAgeSeconds) {
    throw refuse('ocsp-too-old', `at most ${maxAgeSeconds} seconds of age`, `${time - thisUpdate} seconds`);
  }
}

function demandNonce({ nonce }: ClaimedOcspAnswer, expected: Uint8Array | undefined): void {
  if (expected === undefined || (nonce !== undefined && equalBytes(nonce, expected))) return;
  throw refuse('ocsp-nonce', toHex(expected), nonce === undefined ? 'none' : toHex(nonce));
}

function statusOf({ status, producedAt, thisUpdate, nextUpdate }: ClaimedOcspAnswer): OcspStatus {
  const times = { producedAt, thisUpdate, nextUpdate };
  if (status.status !== 'revoked') {
    return { status: status.status, ...times, revokedAt: undefined, reason: undefined };
  }
  const { revokedAt, reason } = status;
  return { status: reason === CERTIFICATE_HOLD ? 'hold' : 'revoked', ...times, revokedAt, reason };
}
