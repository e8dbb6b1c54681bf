/** Verification of an SEV-SNP report: authenticity, purpose, machine, state, in this order (docs/spec/sev-snp.md). */

import { equalBytes, toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { rememberedDocument } from '../core/certificate-memory.ts';
import type { DeviceInputs } from '../core/device-class.ts';
import { defineChecks, judge } from '../core/verdict.ts';
import type { Check, Checklist, Refused, Verdict } from '../core/verdict.ts';
import { appraiseFirmware } from './appraise-firmware.ts';
import { appraiseGuest } from './appraise-guest.ts';
import { appraisePlatform } from './appraise-platform.ts';
import { authenticateReport, demandReportData, reportChecks } from './authenticate.ts';
import type { AuthenticReport } from './authenticate.ts';
import type { ChainInputs } from './chain.ts';
import { reportClaims } from './claims.ts';
import type { AppraisalResult, SevSnpClaims, SevSnpReportClaims } from './claims.ts';
import { readEnrolmentRecord, readPolicy, readReferenceValues } from './documents.ts';
import type { LaunchReference, MinimumTcbSet, SevSnpPolicy } from './documents.ts';
import type { SevSnpEvidence } from './evidence.ts';
import { readReport } from './layout.ts';
import { mergeMinima } from './minimum-tcb.ts';
import { computeReportData } from './report-data.ts';

export const enrolmentChecks = defineChecks('inauthentic', {
  'snp-not-enrolled': {
    means: 'The policy demands that machines are enrolled, and this one is not.',
    hint: 'Have the machine accredited for the lab by its identity.',
    protects: 'Any machine with accepted hardware would count as the lab’s.',
  },
  'snp-other-machine': {
    means: 'The enrolment record is that of another machine.',
    hint: 'Enrol this machine, or use the one that is enrolled.',
    protects: 'Another machine could answer.',
  },
  'snp-other-lab': {
    means: 'The machine belongs to another lab.',
    hint: 'Each lab uses its own machines.',
    protects: 'A lab could use the machine of another one.',
  },
});

/** The verdict on one guest, as evidence of the device class. */
export function verifySevSnpEvidence(
  { reportBytes, report, certificates }: SevSnpEvidence,
  inputs: DeviceInputs,
): Promise<Verdict<SevSnpClaims>> {
  return judge(async (checks) => {
    const documents = readDocuments(inputs);
    const authentic = await authenticateReport(reportBytes, report, { ...inputs, certificates }, checks);
    const { expectedDeviceValue: deviceValue, companionsDigest } = inputs;
    demandReportData(report, computeReportData({ deviceValue, companionsDigest }), checks);
    demandEnrolment(authentic, documents.policy, inputs, checks);
    const result = appraise(authentic, documents, inputs.time, checks);
    return { class: 'sev-snp', lab: inputs.lab, ...reportClaims(authentic, reportBytes, result) };
  });
}

/** Everything that the verdict on one report depends on, outside of an evidence bundle. */
export interface ReportQuestion extends ChainInputs {
  /** 1184 bytes. */
  readonly report: Uint8Array;
  /** 64 bytes; undefined when the caller does not know what the report was made for. */
  readonly expectedReportData: Uint8Array | undefined;
  readonly policy: JsonValue;
  readonly referenceValues: readonly JsonValue[];
}

/** A check that could not be made, because the verifier was not told what to expect. */
export type UnjudgedCheck = Omit<Check, 'outcome'> & { readonly outcome: 'unjudged' };

/**
 * What a report says when nobody knows what it was made for. It is neither accepted nor refused: its claims are not
 * trusted ones, because anybody may have sent a report of the past along.
 */
export interface Inspected {
  readonly outcome: 'inspected';
  readonly claims: SevSnpReportClaims;
  readonly checks: readonly (Check | UnjudgedCheck)[];
}

/**
 * Verifies a report that stands alone, for tools: there is no lab, so enrolment is not judged, and the claims are those
 * of a report and not of a device.
 */
export function verifySevSnpReport(
  question: ReportQuestion & { readonly expectedReportData: Uint8Array },
): Promise<Verdict<SevSnpReportClaims>>;
export function verifySevSnpReport(
  question: ReportQuestion,
): Promise<Verdict<SevSnpReportClaims> | Inspected>;
export async function verifySevSnpReport(
  question: ReportQuestion,
): Promise<Verdict<SevSnpReportClaims> | Inspected> {
  const { expectedReportData } = question;
  return expectedReportData === undefined
    ? await inspect(question)
    : await judge((checks) => judgeReport(question, checks, expectedReportData));
}

/** One report as a part of a larger verification. The claims are worth what the checklist says in the end. */
export async function judgeReport(
  question: Omit<ReportQuestion, 'expectedReportData'>,
  checks: Checklist,
  expectedReportData: Uint8Array | undefined,
): Promise<SevSnpReportClaims> {
  const documents = readDocuments(question);
  const report = readReport(question.report);
  const authentic = await authenticateReport(question.report, report, question, checks);
  if (expectedReportData !== undefined) demandReportData(report, expectedReportData, checks);
  return reportClaims(authentic, question.report, appraise(authentic, documents, question.time, checks));
}

/** The claims are wrapped while they are judged, so that they themselves are never marked as trusted. */
async function inspect(question: ReportQuestion): Promise<Inspected | Refused> {
  const verdict = await judge(async (checks) => ({ claims: await judgeReport(question, checks, undefined) }));
  if (verdict.outcome === 'refused') return verdict;
  const { claims } = verdict.claims;
  const unjudged: UnjudgedCheck = {
    id: 'snp-report-data',
    outcome: 'unjudged',
    field: 'report.reportData',
    expected: 'a value from the verifier (none was given: freshness was not judged)',
    found: claims.reportData,
    protects: reportChecks.codes['snp-report-data'].protects,
  };
  return { outcome: 'inspected', claims, checks: [...verdict.checks, unjudged] };
}

interface Documents {
  readonly policy: SevSnpPolicy;
  readonly launches: readonly LaunchReference[];
  readonly minimumSets: readonly MinimumTcbSet[];
}

function readDocuments({
  policy,
  referenceValues,
  memory,
}: Pick<DeviceInputs, 'policy' | 'referenceValues' | 'memory'>): Documents {
  const references = referenceValues.map((value) => rememberedDocument(memory, value, readReferenceValues));
  return {
    policy: rememberedDocument(memory, policy, readPolicy),
    launches: references.filter((reference) => reference.kind === 'launch'),
    minimumSets: references.filter((reference) => reference.kind === 'minimum-tcb'),
  };
}

function demandEnrolment(
  { identity }: AuthenticReport,
  policy: SevSnpPolicy,
  { enrolment, lab }: DeviceInputs,
  checks: Checklist,
): void {
  const isDemanded = policy.enrolment === 'required';
  checks.demand(enrolmentChecks, 'snp-not-enrolled', enrolment !== undefined || !isDemanded, {
    field: 'enrolment',
    expected: isDemanded ? 'an enrolment record' : 'a record or none',
    found: enrolment === undefined ? `none for ${toHex(identity)}` : 'one',
  });
  if (enrolment === undefined) return;
  const record = readEnrolmentRecord(enrolment);
  checks.demand(enrolmentChecks, 'snp-other-machine', equalBytes(record.identity, identity), {
    field: 'enrolment.identity',
    expected: toHex(record.identity),
    found: toHex(identity),
  });
  checks.demand(enrolmentChecks, 'snp-other-lab', record.lab === lab, {
    field: 'enrolment.lab',
    expected: lab,
    found: record.lab,
  });
}

function appraise(
  authentic: AuthenticReport,
  { policy, launches, minimumSets }: Documents,
  time: number,
  checks: Checklist,
): AppraisalResult {
  const { sets, processors } = policy.minimumTcb;
  const minima = mergeMinima(minimumSets, sets, processors);
  appraisePlatform(authentic, policy, time, checks);
  appraiseFirmware(authentic, policy, minima, checks);
  return { launch: appraiseGuest(authentic.report, policy, launches, checks), minimumTcbSets: sets };
}
