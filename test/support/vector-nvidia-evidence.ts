/** Vectors of single reports: of GPUs, of switches, and of a layout of opaque data. */

import { toHex } from '../../attestation/core/bytes.ts';
import { judge } from '../../attestation/core/verdict.ts';
import { readPemChain } from '../../attestation/nvidia-gpu/evidence.ts';
import type { OpaqueData } from '../../attestation/nvidia-gpu/opaque-data.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import type { DeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import { withoutPadding } from '../../attestation/nvidia-gpu/spdm.ts';
import type { ReportKind } from '../../attestation/nvidia-gpu/spdm.ts';
import { fileOf } from './vector-nvidia-case.ts';
import type { CaseOf, NvidiaCase } from './vector-nvidia-case.ts';
import { readPemCertificates, validityOf } from './vector-nvidia-certificates.ts';
import { authenticate, challengeOf, presentedDevices } from './vector-nvidia-devices.ts';
import type { PresentedEvidence } from './vector-nvidia-devices.ts';
import { membersLine, refusalsOf, verdictLine } from './vector-nvidia-judgement.ts';
import type { CheckTable, KindJudge, Members, MembersLine } from './vector-nvidia-judgement.ts';
import {
  chainMembers,
  familyOf,
  formatOf,
  gpuMembers,
  reportMembers,
  switchMembers,
} from './vector-nvidia-members.ts';
import type { VectorLine } from './vector-runner.ts';

export const evidenceChecks: CheckTable = {
  parse: [
    'layout-*',
    'gpu-report-size',
    'gpu-report-blocks',
    'gpu-opaque-*',
    'gpu-version',
    'gpu-report-trailing',
    'utf8-malformed',
  ],
  request_header: ['gpu-request-header'],
  response_header: ['gpu-response-header'],
  trailing: ['gpu-report-trailing'],
  blocks: ['gpu-report-blocks', 'gpu-report-fsp'],
  opaque_unique: ['gpu-opaque-repeated'],
  opaque_required: ['gpu-opaque-required'],
  chain_length: ['gpu-chain-length', 'gpu-chain-size'],
  chain_links: ['path-signature', 'path-untrusted'],
  chain_root: ['path-untrusted', 'gpu-root'],
  chain_ca: ['path-authority', 'gpu-leaf-usage'],
  chain_time: ['path-validity', 'gpu-root-validity'],
  curve: ['gpu-chain-algorithms'],
  signature: ['gpu-signature', 'gpu-signature-range'],
  nonce: ['gpu-nonce', 'gpu-nonce-zero'],
  leaf_role: ['gpu-device-role', 'gpu-certificate-name', 'gpu-chip-unknown', 'gpu-report-fsp'],
  fwid: ['gpu-fwid', 'gpu-fwid-missing'],
  arch: ['gpu-architecture'],
};

type EvidenceKind = 'gpu-evidence' | 'switch-evidence';

/** What the device is presented as; a mutation may say something else than the vector. */
function presentedKind({ vector, context }: NvidiaCase): ReportKind {
  return context['claimed_kind'] === 'gpu' || vector.kind === 'gpu-evidence' ? 'gpu' : 'switch';
}

/** @throws RefusalError when the chain cannot be read */
function deviceOf(subject: CaseOf<EvidenceKind>): PresentedEvidence {
  const { vector, context } = subject;
  const label = context['claimed_arch'];
  return {
    report: fileOf(subject, 'report'),
    certificates: readPemChain(fileOf(subject, 'chain'), 'chain'),
    kind: presentedKind(subject),
    architecture: typeof label === 'string' ? label : (vector.arch ?? ''),
  };
}

/** What a policy or an agent may loosen by name. */
interface Loosening {
  readonly isPaddingCut: boolean;
  readonly driversWithoutFwid: readonly string[];
}
const STRICT: Loosening = { isPaddingCut: false, driversWithoutFwid: [] };

function refusalsOfEvidence(
  subject: CaseOf<EvidenceKind>,
  { isPaddingCut, driversWithoutFwid } = STRICT,
): Promise<readonly string[]> {
  return refusalsOf(() =>
    judge((checks) => {
      const device = deviceOf(subject);
      const report = isPaddingCut ? withoutPadding(device.report) : device.report;
      return authenticate({ ...device, report }, { ...challengeOf(subject), driversWithoutFwid }, checks);
    }),
  );
}

/** Where the manifest leaves a refusal to the policy: with that one thing loosened the evidence must be accepted. */
async function* loosenedLines(subject: CaseOf<EvidenceKind>): AsyncIterable<VectorLine> {
  const { id, parsed, expect } = subject.vector;
  const loosenings: Readonly<Record<string, Loosening>> = {
    'reject-or-policy': { ...STRICT, driversWithoutFwid: [parsed['driver_version'] as string] },
    'accept-evidence-if-zero-padding-tolerated': { ...STRICT, isPaddingCut: true },
  };
  const loosening = loosenings[expect.verdict];
  if (loosening === undefined) return;
  const codes = await refusalsOfEvidence(subject, loosening);
  const expectation = { outcome: 'accepted', mustFail: [], allFailing: [] } as const;
  yield verdictLine(`${id}#loosened`, expectation, codes, evidenceChecks);
}

/** The report as the agent would send it: what zeros may follow it in a capture are taken off. */
function readVectorReport(subject: NvidiaCase): DeviceReport {
  return readDeviceReport(withoutPadding(fileOf(subject, 'report')), presentedKind(subject));
}

function evidenceMembers(subject: NvidiaCase): Members {
  const report = readVectorReport(subject);
  const chain = readPemCertificates(fileOf(subject, 'chain'));
  return {
    ...reportMembers(report, fileOf(subject, 'report')),
    ...(report.kind === 'gpu' ? gpuMembers(report.fields, familyOf(chain[0])) : switchMembers(report.fields)),
    ...chainMembers(chain),
  };
}

export const evidenceJudge: KindJudge<CaseOf<EvidenceKind>> = {
  checks: evidenceChecks,
  refusals: (subject) => refusalsOfEvidence(subject),
  async *facts(subject) {
    yield* loosenedLines(subject);
    const { id, parsed, chain_validity: validity, expect } = subject.vector;
    const stated = { failing: expect.failing, table: evidenceChecks };
    const line = await membersLine(`${id}#parsed`, parsed, () => evidenceMembers(subject), stated);
    yield explainIdentifier(subject, line);
    if (validity !== undefined) {
      const read = (): Members => ({ validity: validityOf(readPemCertificates(fileOf(subject, 'chain'))) });
      yield await membersLine(`${id}#chain`, { validity }, read, stated);
    }
    if (!subject.files.has('sdk_json')) return;
    yield await membersLine(`${id}#sdk_json`, plainMembers(subject), () => jsonMembers(subject), stated);
  },
};

/** Report and chain as they stand in their own files, hex. */
function plainMembers(subject: NvidiaCase): Members {
  const certificates = readPemChain(fileOf(subject, 'chain'), 'chain');
  return { report: toHex(fileOf(subject, 'report')), certificates: certificates.map(toHex) };
}

/** The same out of the JSON of NVIDIA's tools. */
function jsonMembers(subject: NvidiaCase): Members {
  const [device] = presentedDevices(fileOf(subject, 'sdk_json'), 'sdk_json');
  return device === undefined
    ? {}
    : { report: toHex(device.report), certificates: device.certificates.map(toHex) };
}

/** Which manifest a driver has depends on the chip, so that there is none to name where the chain does not name a chip. */
function explainIdentifier(subject: NvidiaCase, line: MembersLine): MembersLine {
  const [leaf] = readPemCertificates(fileOf(subject, 'chain'));
  if (line.differing.join() !== 'driver_rim_id' || familyOf(leaf) !== undefined) return line;
  return { ...line, explanation: 'the first certificate names no chip, so that there is no driver manifest' };
}

/** Entries longer than this are not repeated in the manifest. */
const LISTED_BYTES = 64;

export const opaqueFormatJudge: KindJudge<CaseOf<'opaque-format'>> = {
  checks: evidenceChecks,
  refusals: (subject) => refusalsOf(() => void readDeviceReport(fileOf(subject, 'report'), 'gpu')),
  async *facts(subject) {
    const { id, parsed, expect } = subject.vector;
    const stated = { failing: expect.failing, table: evidenceChecks };
    const line = await membersLine(`${id}#parsed`, parsed, () => formatMembers(subject, parsed), stated);
    yield explainTexts(subject, line);
  },
};

/** Members that are texts of one entry, by the type of the entry. */
const TEXT_ENTRIES: ReadonlyMap<string, number> = new Map([
  ['chip_sku', 15],
  ['project', 17],
  ['project_sku', 18],
]);

/** The manifest says these twice, as a text and as bytes: where its own bytes are what was read, its text is wrong. */
function explainTexts(subject: CaseOf<'opaque-format'>, line: MembersLine): MembersLine {
  const { opaqueData } = readDeviceReport(fileOf(subject, 'report'), 'gpu');
  const types = line.differing.map((name) => TEXT_ENTRIES.get(name));
  const isContradicted = (type: number | undefined): boolean =>
    opaqueData.entries.some((entry) => entry.type === type);
  if (line.differing.length === 0 || !types.every(isContradicted)) return line;
  return {
    ...line,
    explanation: `the manifest's own list of entries, which agrees, says otherwise in type ${types.join(', ')}`,
  };
}

/** Of the members of any report those that the manifest states, and the header and entries of the typed layout. */
function formatMembers(subject: NvidiaCase, stated: Members): Members {
  const whole = fileOf(subject, 'report');
  const report = readDeviceReport(whole, 'gpu');
  const all = { ...reportMembers(report, whole), ...gpuMembers(report.fields, undefined) };
  return {
    ...Object.fromEntries(Object.entries(all).filter(([name]) => name in stated)),
    opaque_format: formatOf(report.opaqueData),
    ...typedMembers(report.opaqueData),
  };
}

function typedMembers(data: OpaqueData): Members {
  if (data.format === 'packed') return {};
  const { major, minor, patch } = data.version;
  return {
    // Another profile is not read, and neither is padding that is not zero.
    opaque_header: { profile: 0, major, minor, rest: toHex(Uint8Array.of(patch, 0)) },
    entries: data.entries.map(({ type, valueType, value }) => ({
      type,
      value_type: `0x${valueType.toString(16)}`,
      size: value.length,
      ...(value.length <= LISTED_BYTES && { hex: toHex(value) }),
    })),
  };
}
