/** What is asked about a vector of SEV-SNP: the report as a verifier gets it, under a policy that only the floors limit. */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { toHex } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { RefusalFamilyName } from '../../attestation/core/refusal.ts';
import type { Verdict } from '../../attestation/core/verdict.ts';
import { amdAnchors } from '../../attestation/sev-snp/anchors/amd-roots.ts';
import type { SevSnpCertificates } from '../../attestation/sev-snp/evidence.ts';
import { PRODUCT_LINES } from '../../attestation/sev-snp/product.ts';
import { verifySevSnpReport } from '../../attestation/sev-snp/verify.ts';
import type { ReportQuestion } from '../../attestation/sev-snp/verify.ts';
import type { VectorFolder } from './vector-folder.ts';
import type { SnpManifest, SnpVector } from './vector-snp-manifest.ts';

export type Document = Readonly<Record<string, JsonValue>>;
export interface Question extends ReportQuestion {
  readonly expectedReportData: Uint8Array;
  readonly policy: Document;
}

/** Everything that a judge of one manifest needs. */
export interface SnpSet {
  readonly folder: VectorFolder;
  readonly manifest: SnpManifest;
}

export interface Outcome {
  readonly family: RefusalFamilyName | 'accepted';
  readonly codes: readonly string[];
}

export const ACCEPTED: Outcome = { family: 'accepted', codes: [] };

/** Bytes of a file, with the digest that the manifest states for it. */
export function snpFile({ folder, manifest }: SnpSet, path: string): Uint8Array {
  const vector = manifest.vectors.find(({ sha256 }) => path in sha256);
  const stated = vector?.sha256[path] ?? manifest.certificates[path]?.sha256 ?? manifest.crls[path]?.sha256;
  return folder.file(path, stated);
}

export function posixSeconds(text: string): number {
  return Date.parse(text) / 1000;
}

/** The middle of the time in which all certificates of the vector are valid. */
function timeOf({ expected }: SnpVector): number {
  const [from, until] = expected.verdict.cert_valid_interval.map(posixSeconds);
  return Math.floor(((from ?? 0) + (until ?? 0)) / 2);
}

export function isFleetSigned(vector: SnpVector): boolean {
  return vector.expected.endorsement_cert['subject_cn'] === 'SEV-VLEK';
}

function certificatesOf(set: SnpSet, vector: SnpVector): SevSnpCertificates {
  const { endorsement_cert: certificate, intermediate, root } = vector.files;
  const key = snpFile(set, certificate);
  return {
    vcek: isFleetSigned(vector) ? undefined : key,
    vlek: isFleetSigned(vector) ? key : undefined,
    intermediate: snpFile(set, intermediate),
    ark: snpFile(set, root),
  };
}

/** @param reportData what the report was made for: the vector's own value, which nobody knows otherwise */
export function questionOf(set: SnpSet, vector: SnpVector): Question {
  const report = snpFile(set, vector.files.report);
  return {
    report,
    certificates: certificatesOf(set, vector),
    anchors: amdAnchors,
    collateral: new Map(),
    time: timeOf(vector),
    expectedReportData: report.slice(0x50, 0x90),
    policy: { ...loosestPolicy(report), cspIds: cspIdsOf(vector) },
    referenceValues: [launchReference(report.subarray(0x90, 0xc0))],
  };
}

function cspIdsOf({ expected }: SnpVector): readonly string[] {
  const cspId = expected.endorsement_cert['csp_id'];
  return typeof cspId === 'string' ? [cspId] : [];
}

const NO_MINIMUM = { bootLoader: 0, tee: 0, snp: 0, microcode: 0 } as const;

/** Key of the processor of a report in a policy's minima: version 2 names none, and falls under its product line. */
export function processorsOf(report: Uint8Array): readonly string[] {
  const isNamed = (report[0] ?? 0) >= 3;
  const parts = [...report.subarray(0x188, 0x18b)].map((part) => part.toString(16).padStart(2, '0'));
  return isNamed ? [parts.join('-')] : PRODUCT_LINES;
}

function isTurin(processor: string): boolean {
  return processor === 'Turin' || processor.startsWith('1a');
}

export function minimumOf(
  processor: string,
  levels: Partial<Record<keyof typeof NO_MINIMUM, number>>,
): Document {
  const fmc = isTurin(processor) ? 0 : null;
  return { processor, tcb: { fmc, ...NO_MINIMUM, ...levels }, firmware: '0.0.0' };
}

/** Nothing refuses under this policy but what no policy can allow. */
export function loosestPolicy(report: Uint8Array): Document {
  return {
    version: 1,
    class: 'sev-snp',
    reportVersions: [2, 3, 4, 5],
    signingKeys: ['vcek', 'vlek'],
    productLines: [...PRODUCT_LINES],
    vmpls: [0, 1, 2, 3],
    minimumTcb: { sets: [], processors: processorsOf(report).map((processor) => minimumOf(processor, {})) },
    allowProvisionalFirmware: true,
    guestPolicy: { minimumAbi: { major: 0, minor: 0 }, required: [], forbidden: [] },
    platformInfo: { required: [], forbidden: [], toleratedUnknownBits: 'ffffffffffffff40' },
    minimumGuestSvn: 0,
    familyIds: 'any',
    imageIds: 'any',
    idKeyDigests: 'any',
    authorKeyDigests: 'any',
    hostData: 'any',
    mitigations: { launch: '0000000000000000', current: '0000000000000000' },
    migrationAgents: [],
    chips: { allowed: 'any', denied: [], allowMasked: true },
    cspIds: [],
    revocation: {
      missingList: 'accept',
      maxAgeSeconds: 2 ** 40,
      minimumNumbers: { Milan: 0, Genoa: 0, Turin: 0 },
    },
    enrolment: 'not-required',
  };
}

function launchReference(measurement: Uint8Array): Document {
  const provenance = {
    method: 'recorded',
    tool: 'vectors',
    toolVersion: '1',
    artefacts: [],
    parameters: {},
    madeAt: 0,
  };
  return {
    version: 1,
    class: 'sev-snp',
    kind: 'launch',
    name: 'as reported',
    measurement: toHex(measurement),
    provenance,
  };
}

/** The verdict on a report. Anything thrown is no refusal of ours and ends the run. */
export async function ask(question: Question): Promise<Outcome> {
  return outcomeOf(() => verifySevSnpReport(question));
}

/** What came of work that ends in a verdict, in a value, or in a refusal. */
export async function outcomeOf(work: () => unknown): Promise<Outcome> {
  try {
    const result = await work();
    return isRefused(result)
      ? { family: result.family, codes: result.refusals.map(({ code }) => code) }
      : ACCEPTED;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { family: error.family, codes: [error.refusal.code] };
  }
}

function isRefused(result: unknown): result is Extract<Verdict<object>, { outcome: 'refused' }> {
  return typeof result === 'object' && result !== null && 'outcome' in result && result.outcome === 'refused';
}
