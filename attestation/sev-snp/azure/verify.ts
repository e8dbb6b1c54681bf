/**
 * Verification of an Azure machine: the paravisor's report, the key of the virtual TPM in its claims, and a quote by
 * that key (docs/spec/azure-vtpm.md), in this order. The report holds no nonce: only the quote is fresh.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes } from '../../core/bytes.ts';
import type { JsonValue } from '../../core/canonical-json.ts';
import { encode } from '../../core/layout.ts';
import { defineChecks, judge } from '../../core/verdict.ts';
import type { Check, Checklist, Refused, Verdict } from '../../core/verdict.ts';
import { appraise } from '../../tpm/appraise.ts';
import { Algorithm, signature as tpmSignature } from '../../tpm/layout.ts';
import type { QuoteAttest } from '../../tpm/layout.ts';
import { authenticateStatement, demandBinding, demandPcrs, quoteChecks } from '../../tpm/quote.ts';
import type { PresentedQuote } from '../../tpm/quote.ts';
import type { ChainInputs } from '../chain.ts';
import { judgeReport } from '../verify.ts';
import type { UnjudgedCheck } from '../verify.ts';
import { appraiseConfiguration, demandParavisor } from './appraise.ts';
import { readAttestationKey } from './attestation-key.ts';
import type { AzureAttestationKey } from './attestation-key.ts';
import { azureVtpmClaims } from './claims.ts';
import type { AzureVtpmClaims } from './claims.ts';
import { readAzureVtpmPolicy, readAzureVtpmReferenceValues } from './documents.ts';
import type { AzureVtpmPolicy } from './documents.ts';
import { readHclReport } from './layout.ts';
import { readRuntimeClaims } from './runtime-claims.ts';

export const nonceChecks = defineChecks('inauthentic', {
  'azure-nonce': {
    means: 'The nonce that the quote has to hold is empty, or longer than a quote can hold.',
    hint: 'Draw at least 16 random bytes for each challenge.',
    protects: 'A quote without a nonce could be replayed for ever.',
  },
});

/** Everything that the verdict on one machine depends on. */
export interface AzureVtpmQuestion extends ChainInputs {
  /** NV index 0x01400001 of the virtual TPM. */
  readonly hclReport: Uint8Array;
  /** The signature is the bare RSA signature, or TPMT_SIGNATURE. */
  readonly quote: PresentedQuote;
  /** Undefined when the caller does not know what the quote was made for. */
  readonly expectedNonce: Uint8Array | undefined;
  readonly policy: JsonValue;
  /** Documents of the classes `sev-snp` and `tpm`. */
  readonly referenceValues: readonly JsonValue[];
}

/** What a machine says when nobody knows when it said it: neither accepted nor refused, and nothing trusted. */
export interface AzureVtpmInspected {
  readonly outcome: 'inspected';
  readonly claims: AzureVtpmClaims;
  readonly checks: readonly (Check | UnjudgedCheck)[];
}

/** The verdict on one machine. Without an expected nonce it can at best be inspected. */
export async function verifyAzureVtpm(
  question: AzureVtpmQuestion,
): Promise<Verdict<AzureVtpmClaims> | AzureVtpmInspected> {
  const { expectedNonce } = question;
  return expectedNonce === undefined
    ? await inspect(question)
    : await judge((checks) => judgeMachine(question, expectedNonce, checks));
}

async function judgeMachine(
  question: AzureVtpmQuestion,
  expectedNonce: Uint8Array | undefined,
  checks: Checklist,
): Promise<AzureVtpmClaims> {
  const policy = readAzureVtpmPolicy(question.policy);
  const references = readAzureVtpmReferenceValues(question.referenceValues);
  const hcl = readHclReport(question.hclReport);
  const documents = { policy: policy.sevSnp, referenceValues: references.sevSnp };
  // AZ-6: REPORT_DATA holds the digest of the claims, and then zeros.
  const reportData = concatBytes(sha256(hcl.claims), new Uint8Array(32));
  const hardware = { ...question, ...documents, report: hcl.hardwareReport };
  const report = await judgeReport(hardware, checks, reportData);
  demandParavisor(report.vmpl, checks);
  const runtime = readRuntimeClaims(hcl.claims);
  const key = readAttestationKey(runtime.attestationKey, checks);
  const quote = await authenticateQuote(question.quote, key, { expectedNonce, policy }, checks);
  appraiseConfiguration(runtime.configuration, policy, checks);
  const { pcrs } = question.quote;
  const appraisal = { record: NO_RECORD, policy: policy.tpm, referenceValues: references.tpm, boot: null };
  return azureVtpmClaims({
    report,
    runtime,
    quote,
    akName: key.name,
    bank: policy.tpm.selection.bank.bank,
    pcrs,
    referenceValues: appraise(quote, pcrs, appraisal, checks)?.name ?? '',
  });
}

/** The virtual TPM has no endorsement certificate of its own: the report vouches for it. Microsoft made it. */
const NO_RECORD = { lastSeen: null, manufacturer: 'id:4D534654' } as const;

async function authenticateQuote(
  presented: PresentedQuote,
  key: AzureAttestationKey,
  expected: { readonly expectedNonce: Uint8Array | undefined; readonly policy: AzureVtpmPolicy },
  checks: Checklist,
): Promise<QuoteAttest> {
  const framed = { ...presented, signature: framedSignature(presented.signature) };
  const signer = { key, qualifiedSigners: [key.qualifiedName] };
  const quote = await authenticateStatement(framed, signer, checks);
  if (expected.expectedNonce !== undefined) {
    demandNonce(expected.expectedNonce, checks);
    demandBinding(quote, expected.expectedNonce, checks);
  }
  demandPcrs(quote, framed, { key, selection: expected.policy.tpm.selection }, checks);
  return quote;
}

const RSA_2048_BYTES = 256;

/** Azure's tools give the bare signature; TPMT_SIGNATURE is 6 bytes longer, so that the two cannot be mixed up. */
function framedSignature(signature: Uint8Array): Uint8Array {
  if (signature.length !== RSA_2048_BYTES) return signature;
  const members = { algorithm: Algorithm.rsassa, hash: Algorithm.sha256, signature };
  return encode(tpmSignature, members, 'signature');
}

/** TPM2B_DATA holds a hash algorithm and a digest of SHA-512 at most. */
const MAX_NONCE_BYTES = 64;

function demandNonce(nonce: Uint8Array, checks: Checklist): void {
  const isUsable = nonce.length > 0 && nonce.length <= MAX_NONCE_BYTES;
  checks.demand(nonceChecks, 'azure-nonce', isUsable, {
    field: 'expectedNonce',
    expected: `1 to ${MAX_NONCE_BYTES} bytes`,
    found: `${nonce.length} bytes`,
  });
}

/** The claims are wrapped while they are judged, so that they themselves are never marked as trusted. */
async function inspect(question: AzureVtpmQuestion): Promise<AzureVtpmInspected | Refused> {
  const verdict = await judge(async (checks) => ({
    claims: await judgeMachine(question, undefined, checks),
  }));
  if (verdict.outcome === 'refused') return verdict;
  const { claims } = verdict.claims;
  const unjudged: UnjudgedCheck = {
    id: 'tpm-quote-binding',
    outcome: 'unjudged',
    field: 'attest.extraData',
    expected: 'a nonce from the verifier (none was given: freshness was not judged)',
    found: claims.nonce,
    protects: quoteChecks.codes['tpm-quote-binding'].protects,
  };
  return { outcome: 'inspected', claims, checks: [...verdict.checks, unjudged] };
}
