/**
 * A report that stands alone, for tools: no bundle, no lab, no enrolment. What the caller does not give is not judged, and the
 * answer says so: then the claims are not trusted ones.
 */

import type { JsonValue } from '../core/canonical-json.ts';
import { judge } from '../core/verdict.ts';
import type { Check, Checklist, Refused, Verdict } from '../core/verdict.ts';
import { appraisalChecks, appraiseDevice } from './appraise.ts';
import { authenticateReport, reportChecks } from './authenticate.ts';
import type { ChainInputs } from './chain.ts';
import { demandArchitecture } from './claimed-architecture.ts';
import { reportClaims } from './claims.ts';
import type { AppraisalClaims, ReportClaims } from './claims.ts';
import { readDeviceReport } from './report.ts';
import type { ReportKind } from './spdm.ts';
import { readDocuments } from './verify.ts';
import type { Documents } from './verify.ts';

/** Everything that the answer depends on. */
export interface ReportQuestion extends ChainInputs {
  readonly kind: ReportKind;
  readonly report: Uint8Array;
  /** DER, from the leaf to the root; `readPemChain` makes them of what NVML gives. */
  readonly certificates: readonly Uint8Array[];
  /** 32 bytes; undefined when the caller does not know what the report was made for. */
  readonly expectedNonce: Uint8Array | undefined;
  /** The unsigned label of the evidence, such as `HOPPER`; undefined without one. */
  readonly architectureLabel: string | undefined;
  /** Manifests and OCSP answers by name; judged only together with a policy. */
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  /** Undefined leaves it at authenticity: neither versions, mode, measurements nor revocation are judged. */
  readonly appraisal:
    { readonly policy: JsonValue; readonly referenceValues: readonly JsonValue[] } | undefined;
}

/** Claims of a report that stands alone; without an appraisal its part is null. */
export type StandaloneClaims = ReportClaims & { readonly appraisal: AppraisalClaims | null };

/** A check that could not be made, because the verifier was not told what to expect. */
export type UnjudgedCheck = Omit<Check, 'outcome'> & { readonly outcome: 'unjudged' };

/** Neither accepted nor refused: something that decides was not given. The claims are not trusted ones. */
export interface Inspected {
  readonly outcome: 'inspected';
  readonly claims: StandaloneClaims;
  readonly checks: readonly (Check | UnjudgedCheck)[];
}

/** Judges a report of a GPU or a switch, as far as the question goes. */
export async function verifyGpuReport(
  question: ReportQuestion,
): Promise<Verdict<StandaloneClaims> | Inspected> {
  const unjudged = unjudgedChecks(question);
  if (unjudged.length === 0) return await judge((checks) => judgeReport(question, checks));
  return await inspect(question, unjudged);
}

/** The claims are wrapped while they are judged, so that they themselves are never marked as trusted. */
async function inspect(
  question: ReportQuestion,
  unjudged: readonly UnjudgedCheck[],
): Promise<Inspected | Refused> {
  const verdict = await judge(async (checks) => ({ claims: await judgeReport(question, checks) }));
  if (verdict.outcome === 'refused') return verdict;
  return { outcome: 'inspected', claims: verdict.claims.claims, checks: [...verdict.checks, ...unjudged] };
}

async function judgeReport(question: ReportQuestion, checks: Checklist): Promise<StandaloneClaims> {
  const { kind, certificates, appraisal, memory } = question;
  const deviceClass = kind === 'gpu' ? 'nvidia-gpu' : 'nvswitch';
  const documents = appraisal && readDocuments(deviceClass, { ...appraisal, memory });
  const report = readDeviceReport(question.report, kind);
  const authentic = await authenticateReport(
    { report, certificates },
    { ...question, driversWithoutFwid: driversWithoutFwid(documents) },
    checks,
  );
  const { architectureLabel } = question;
  if (architectureLabel !== undefined) demandArchitecture(architectureLabel, authentic, checks);
  const claims = reportClaims(authentic);
  if (documents === undefined) return { ...claims, appraisal: null };
  const appraised = await appraiseDevice(authentic, { ...documents, ...question }, checks);
  return {
    ...claims,
    simulated: claims.simulated || appraised.isSimulated,
    appraisal: appraised.claims,
  };
}

function driversWithoutFwid(documents: Documents | undefined): readonly string[] {
  return documents?.policy.class === 'nvidia-gpu' ? documents.policy.driversWithoutFwid : [];
}

function unjudgedChecks({ expectedNonce, appraisal }: ReportQuestion): readonly UnjudgedCheck[] {
  const nonce: UnjudgedCheck = {
    id: 'gpu-nonce',
    outcome: 'unjudged',
    field: 'report.request.nonce',
    expected: 'a value from the verifier (none was given: freshness was not judged)',
    found: 'one',
    protects: reportChecks.codes['gpu-nonce'].protects,
  };
  const manifest: UnjudgedCheck = {
    id: 'gpu-manifest',
    outcome: 'unjudged',
    field: 'policy',
    expected: 'a policy (none was given: revocation, mode, versions and measurements were not judged)',
    found: 'none',
    protects: appraisalChecks.codes['gpu-manifest'].protects,
  };
  return [...(expectedNonce === undefined ? [nonce] : []), ...(appraisal === undefined ? [manifest] : [])];
}
