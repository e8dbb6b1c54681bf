/** Builds what the verifier is asked from the options of `weightgate evidence`, and asks it. */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { hexShape, mapShape } from '../../attestation/core/json-shape.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { amdAnchors } from '../../attestation/sev-snp/anchors/amd-roots.ts';
import { readHclReport } from '../../attestation/sev-snp/azure/layout.ts';
import { verifyAzureVtpm } from '../../attestation/sev-snp/azure/verify.ts';
import { MAX_TABLE_BYTES } from '../../attestation/sev-snp/certificate-table.ts';
import type { ChainInputs } from '../../attestation/sev-snp/chain.ts';
import { certificatesOfTable, type SevSnpCertificates } from '../../attestation/sev-snp/evidence.ts';
import { readReport } from '../../attestation/sev-snp/layout.ts';
import { verifySevSnpReport } from '../../attestation/sev-snp/verify.ts';
import type { PresentedQuote } from '../../attestation/tpm/quote.ts';
import { AmdKds } from '../platform/collateral/amd-kds.ts';
import { DirectoryStore } from '../platform/collateral/directory-store.ts';
import { KeptCollateral } from '../platform/collateral/kept-collateral.ts';
import { sevSnpCollateralCheck } from '../platform/collateral/sev-snp-check.ts';
import { gatherSevSnpCollateral } from '../platform/collateral/sev-snp-collateral.ts';
import { judgeBundle } from './evidence-bundle.ts';
import {
  readCertificateFiles,
  readDocument,
  readInput,
  readRevocationLists,
  readSimulatedRoots,
  STANDARD_INPUT,
} from './evidence-files.ts';
import { judgeNvidia } from './evidence-nvidia.ts';
import type { Judgement } from './evidence-output.ts';
import { usageRefusals } from './failure.ts';
import { remark } from './options.ts';

/** Options that name the evidence. */
export interface EvidenceOptions {
  readonly sevSnp?: string;
  readonly azureHcl?: string;
  readonly nvidiaGpu?: string;
  readonly nvswitch?: string;
  readonly bundle?: string;
  readonly quote?: string;
  readonly quoteSignature?: string;
  readonly pcrs?: string;
  readonly certificateTable?: string;
  readonly cert: readonly string[];
  readonly chain: readonly string[];
  readonly json?: true;
}

/** Options that say what to hold the evidence against. */
export interface VerifyOptions extends EvidenceOptions {
  readonly inputs?: string;
  readonly policy?: string;
  readonly nvswitchPolicy?: string;
  readonly reference: readonly string[];
  readonly reportData?: Uint8Array;
  readonly nonce?: Uint8Array;
  readonly crl: readonly string[];
  readonly collateral?: string;
  readonly fetch?: true;
  readonly rim?: readonly string[];
  readonly ocsp?: readonly string[];
  readonly simulatedRoot: readonly string[];
  readonly simulatedManifestRoot?: readonly string[];
  /** POSIX seconds. */
  readonly at: number;
}

export type EvidenceKind = 'sevSnp' | 'azureHcl' | 'nvidiaGpu' | 'nvswitch' | 'bundle';

const KINDS: Readonly<Record<EvidenceKind, string>> = {
  sevSnp: '--sev-snp',
  azureHcl: '--azure-hcl',
  nvidiaGpu: '--nvidia-gpu',
  nvswitch: '--nvswitch',
  bundle: '--bundle',
};

/** Which kind of evidence is given, and where. @throws RefusalError `argument-invalid` unless it is exactly one */
export function evidenceOf(options: EvidenceOptions): { readonly kind: EvidenceKind; readonly path: string } {
  const given = (Object.keys(KINDS) as EvidenceKind[]).flatMap((kind) => {
    const path = options[kind];
    return path === undefined ? [] : [{ kind, path }];
  });
  const [only] = given;
  if (only !== undefined && given.length === 1) return only;
  throw invalid('evidence', `one of ${Object.values(KINDS).join(', ')}`, `${given.length} of them`);
}

/** @throws RefusalError `argument-invalid` when more than one file is to be standard input */
export function refuseSecondStandardInput(options: object): void {
  const uses = Object.values(options)
    .flat()
    .filter((value) => value === STANDARD_INPUT);
  if (uses.length > 1) throw invalid(STANDARD_INPUT, 'standard input for one file', `${uses.length} files`);
}

function invalid(field: string, expected: string, found: string): Error {
  return usageRefusals.error('argument-invalid', { field, expected, found });
}

/** @throws RefusalError `argument-invalid` */
export function required(value: string | undefined, option: string): string {
  if (value !== undefined) return value;
  throw invalid(option, 'a file', 'no such option');
}

/**
 * Judges the evidence. What is wrong with the evidence is a verdict; what is wrong with the options, the files or the
 * network is thrown.
 *
 * @throws RefusalError of the families `usage`, `environment` and `unavailable`
 */
export async function judgeEvidence(options: VerifyOptions): Promise<Judgement> {
  refuseSecondStandardInput(options);
  const { kind, path } = evidenceOf(options);
  checkOptions(kind, options);
  try {
    return await JUDGES[kind](path, options);
  } catch (error) {
    if (!isRefusal(error) || !['malformed', 'inauthentic', 'unacceptable'].includes(error.family))
      throw error;
    return { outcome: 'refused', family: error.family, refusals: [error.refusal], checks: [] };
  }
}

const JUDGES: Readonly<Record<EvidenceKind, (path: string, options: VerifyOptions) => Promise<Judgement>>> = {
  sevSnp: judgeReport,
  azureHcl: judgeMachine,
  nvidiaGpu: (path, options) => judgeNvidia(path, 'gpu', options),
  nvswitch: (path, options) => judgeNvidia(path, 'switch', options),
  bundle: judgeDevices,
};

async function judgeReport(path: string, options: VerifyOptions): Promise<Judgement> {
  const documents = await readDocuments(options);
  const report = await readInput(path);
  const chain = await readChain(report, options);
  return await verifySevSnpReport({ report, ...chain, ...documents, expectedReportData: options.reportData });
}

async function judgeMachine(path: string, options: VerifyOptions): Promise<Judgement> {
  const documents = await readDocuments(options);
  const quote = await readQuote(options);
  const hclReport = await readInput(path);
  const chain = await readChain(readHclReport(hclReport).hardwareReport, options);
  return await verifyAzureVtpm({ hclReport, quote, ...chain, ...documents, expectedNonce: options.nonce });
}

async function judgeDevices(path: string, options: VerifyOptions): Promise<Judgement> {
  const inputs = await readDocument(required(options.inputs, '--inputs'));
  return await judgeBundle(await readInput(path), inputs, options.at);
}

interface OptionRules {
  readonly needed: readonly (keyof VerifyOptions)[];
  /** Options that this kind has no use for: they would look as if they had been checked. */
  readonly foreign: readonly (keyof VerifyOptions)[];
}

const QUOTE_OPTIONS = ['quote', 'quoteSignature', 'pcrs'] as const;
const NVIDIA_OPTIONS = ['nvswitchPolicy', 'rim', 'ocsp', 'simulatedManifestRoot'] as const;
const AMD_OPTIONS = ['certificateTable', 'cert', 'crl', 'collateral', 'fetch'] as const;

const OPTION_RULES: Readonly<Record<EvidenceKind, OptionRules>> = {
  sevSnp: { needed: ['policy'], foreign: [...QUOTE_OPTIONS, ...NVIDIA_OPTIONS, 'nonce', 'inputs'] },
  azureHcl: { needed: [...QUOTE_OPTIONS, 'policy'], foreign: [...NVIDIA_OPTIONS, 'reportData', 'inputs'] },
  nvidiaGpu: { needed: ['policy'], foreign: [...QUOTE_OPTIONS, ...AMD_OPTIONS, 'reportData', 'inputs'] },
  nvswitch: {
    needed: ['policy'],
    foreign: [...QUOTE_OPTIONS, ...AMD_OPTIONS, 'nvswitchPolicy', 'reportData', 'inputs'],
  },
  bundle: {
    needed: ['inputs'],
    foreign: [...QUOTE_OPTIONS, ...NVIDIA_OPTIONS, ...AMD_OPTIONS, 'policy', 'reportData', 'nonce'],
  },
};

/** CL-5. @throws RefusalError `argument-invalid` */
function checkOptions(kind: EvidenceKind, options: VerifyOptions): void {
  const { needed, foreign } = OPTION_RULES[kind];
  const missing = needed.find((name) => options[name] === undefined);
  if (missing !== undefined) throw invalid(missing, `this option with ${KINDS[kind]}`, 'none');
  const other = foreign.find((name) => isGiven(options[name]));
  if (other !== undefined)
    throw invalid(other, `options of ${KINDS[kind]}`, 'one of another kind of evidence');
  if (options.fetch !== undefined && options.collateral === undefined) {
    throw invalid('fetch', '--collateral with the folder to keep it in', 'none');
  }
}

/** Options that may be given several times are a list, which is empty where they are not. */
function isGiven(value: VerifyOptions[keyof VerifyOptions]): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined;
}

async function readDocuments({ policy, reference }: VerifyOptions): Promise<{
  readonly policy: JsonValue;
  readonly referenceValues: readonly JsonValue[];
}> {
  return {
    policy: await readDocument(required(policy, '--policy')),
    referenceValues: await Promise.all(reference.map(readDocument)),
  };
}

/** What came with the report, what the files add, and what a source has besides. */
async function readChain(reportBytes: Uint8Array, options: VerifyOptions): Promise<ChainInputs> {
  const report = readReport(reportBytes);
  const certificates = await readCertificates(options);
  const simulated = await readSimulatedRoots(options.simulatedRoot);
  const anchors: readonly TrustAnchor[] = simulated.length > 0 ? simulated : amdAnchors;
  const lists = await readRevocationLists(options.crl);
  const { at: time } = options;
  const source = collateralSource(options, anchors);
  if (source === undefined) return { certificates, anchors, collateral: lists, time };
  const { collateral, failures } = await gatherSevSnpCollateral(source, { report, certificates });
  for (const { code, field, expected, found } of failures) {
    remark(`collateral: ${field}: expected ${expected}, found ${found} [${code}]`);
  }
  return { certificates, anchors, collateral: new Map([...collateral, ...lists]), time };
}

/** The certificates in files and in the certificate table; a file decides where both have one. */
export async function readCertificates(options: EvidenceOptions): Promise<SevSnpCertificates> {
  const files = await readCertificateFiles([...options.cert, ...options.chain]);
  if (options.certificateTable === undefined) return files;
  const table = certificatesOfTable(
    await readInput(options.certificateTable, MAX_TABLE_BYTES),
    'certificateTable',
  );
  return {
    vcek: files.vcek ?? table.vcek,
    vlek: files.vlek ?? table.vlek,
    intermediate: files.intermediate ?? table.intermediate,
    ark: files.ark ?? table.ark,
  };
}

function collateralSource(
  { collateral, fetch, at }: VerifyOptions,
  anchors: readonly TrustAnchor[],
): KeptCollateral | undefined {
  if (collateral === undefined) return undefined;
  return new KeptCollateral({
    store: new DirectoryStore(collateral),
    check: sevSnpCollateralCheck(anchors),
    clock: { posixSeconds: () => at, monotonicMilliseconds: () => performance.now() },
    ...(fetch === undefined ? {} : { upstream: new AmdKds() }),
  });
}

const pcrsShape = mapShape(
  { name: /^sha(?:256|384)$/, maxMembers: 1 },
  mapShape({ name: /^(?:[0-9]|1[0-9]|2[0-3])$/, maxMembers: 24 }, hexShape({ bytes: [32, 48] })),
);

/** TPMS_ATTEST, its signature, and the values as `{bank: {number: hex}}`. */
export async function readQuote(options: EvidenceOptions): Promise<PresentedQuote> {
  const attest = await readInput(required(options.quote, '--quote'));
  const signature = await readInput(required(options.quoteSignature, '--quote-signature'));
  const [entry] = pcrsShape(await readDocument(required(options.pcrs, '--pcrs')), 'pcrs');
  const [bank, values] = entry ?? ['none', new Map<string, Uint8Array>()];
  const pcrs = new Map([...values].map(([pcr, value]) => [Number(pcr), value]));
  return { attest, signature, bank, pcrs };
}
