/**
 * What answers about the certificates of a chain mean for it. The chain is authentic by then; the answers come as
 * collateral, and one that is given must hold.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { toHex } from '../../core/bytes.ts';
import type { CertificateMemory } from '../../core/certificate-memory.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import type { Certificate } from '../../core/x509.ts';
import { verifyOcspAnswer } from './verify.ts';
import type { CertificateStatus, OcspStatus } from './verify.ts';

export const ocspChecks = defineChecks('inauthentic', {
  'ocsp-answer': {
    means: 'An OCSP answer about a certificate of the chain is not its issuer’s, or not in force.',
    hint: 'Fetch a current answer about this certificate from the vendor’s responder.',
    protects: 'An answer of the past, of another certificate or of nobody could hide a revocation.',
  },
  'ocsp-missing': {
    means: 'Nothing is known about whether a certificate of the chain is revoked.',
    hint: 'Fetch the OCSP answers about the chain; no answer is not a good one.',
    protects: 'Whoever keeps the answers back could go on with a revoked certificate.',
  },
  'ocsp-revoked': {
    means: 'A certificate of the chain is revoked.',
    hint: 'Its issuer has withdrawn it: use a device or manifest with another certificate.',
    protects: 'Whoever holds a revoked key could certify devices or manifests of his own.',
  },
  'ocsp-hold': {
    means: 'A certificate of the chain is on hold: what it signed is not released.',
    hint: 'Use released firmware and drivers, or have the operator’s policy accept software before its release.',
    protects: 'Software that its vendor has not released could pass as released.',
  },
  'ocsp-unknown': {
    means: 'The responder does not know a certificate of the chain.',
    hint: 'The certificate may have been withdrawn, or never been issued: ask the vendor.',
    protects: 'A certificate that its issuer never registered could be used.',
  },
});

/** A certificate and the authentic one that issued it. */
export interface IssuedCertificate {
  readonly certificate: Certificate;
  readonly issuer: Certificate;
}

export interface RevocationInputs {
  /** Answers by {@link ocspCollateralName}. */
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  /** POSIX seconds. */
  readonly time: number;
  readonly maxAgeSeconds: number;
  /** What the policy says of a certificate about which there is no answer. */
  readonly missing: 'refuse' | 'accept';
  /** What the policy says of a certificate on hold. */
  readonly hold: 'refuse' | 'accept';
  readonly memory?: CertificateMemory | undefined;
}

/** What is known of one certificate; a status of `missing` has no times. */
export type KnownStatus = OcspStatus | { readonly status: 'missing' };

/** Under which name the answer about a certificate stands in the collateral. */
export function ocspCollateralName({ encoded }: Pick<Certificate, 'encoded'>): string {
  return `ocsp:${toHex(sha256(encoded))}`;
}

/** The pairs of a chain, each certificate with its issuer. @param chain from the leaf to the root */
export function issuedCertificates(chain: readonly Certificate[]): readonly IssuedCertificate[] {
  return chain.flatMap((certificate, i) => {
    const issuer = chain[i + 1];
    return issuer === undefined ? [] : [{ certificate, issuer }];
  });
}

/**
 * Judges each certificate by the answer about it.
 *
 * @returns what is known, in the order of the certificates
 * @throws RefusalError `ocsp-*`, and what {@link verifyOcspAnswer} throws
 */
export async function judgeRevocation(
  issued: readonly IssuedCertificate[],
  inputs: RevocationInputs,
  checks: Checklist,
): Promise<readonly KnownStatus[]> {
  const known: KnownStatus[] = [];
  for (const pair of issued) known.push(await judgeCertificate(pair, inputs, checks));
  return known;
}

async function judgeCertificate(
  { certificate, issuer }: IssuedCertificate,
  { collateral, time, maxAgeSeconds, missing, hold, memory }: RevocationInputs,
  checks: Checklist,
): Promise<KnownStatus> {
  const field = ocspCollateralName(certificate);
  const bytes = collateral.get(field);
  checks.demand(ocspChecks, 'ocsp-missing', bytes !== undefined || missing === 'accept', {
    field,
    expected: missing === 'refuse' ? 'an answer' : 'an answer or none',
    found: bytes === undefined ? 'none' : 'one',
  });
  if (bytes === undefined) return { status: 'missing' };
  const question = { certificate, issuer, time, maxAgeSeconds, memory };
  const expected = 'an answer of the issuer that is in force';
  const known = await checks.attempt(ocspChecks, 'ocsp-answer', { field, expected }, () =>
    verifyOcspAnswer(bytes, question),
  );
  demandStatus(known.status, hold, field, checks);
  return known;
}

function demandStatus(
  status: CertificateStatus,
  hold: RevocationInputs['hold'],
  field: string,
  checks: Checklist,
): void {
  const facts = { field, expected: hold === 'accept' ? 'good or hold' : 'good', found: status };
  checks.demand(ocspChecks, 'ocsp-revoked', status !== 'revoked', facts);
  checks.demand(ocspChecks, 'ocsp-unknown', status !== 'unknown', facts);
  checks.demand(ocspChecks, 'ocsp-hold', status !== 'hold' || hold === 'accept', facts);
}
