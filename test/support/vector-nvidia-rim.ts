/** Vectors of reference manifests, and of reports held against them. */

import { readSubjectPublicKeyInfo } from '../../attestation/core/public-key.ts';
import { verifySignature } from '../../attestation/core/signature.ts';
import type { Trusted } from '../../attestation/core/trusted.ts';
import { judge } from '../../attestation/core/verdict.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { nvidiaAnchors } from '../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import type { DeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import { appraiseComparison, appraiseRim } from '../../attestation/nvidia-gpu/rim/appraise.ts';
import { authenticateRim } from '../../attestation/nvidia-gpu/rim/authenticate.ts';
import type { Rim } from '../../attestation/nvidia-gpu/rim/authenticate.ts';
import { compareMeasurements } from '../../attestation/nvidia-gpu/rim/compare.ts';
import type {
  ComparisonOptions,
  MeasurementComparison,
  RimRole,
} from '../../attestation/nvidia-gpu/rim/compare.ts';
import { readRim } from '../../attestation/nvidia-gpu/rim/document.ts';
import { readXml } from '../../attestation/nvidia-gpu/rim/xml.ts';
import { withoutPadding } from '../../attestation/nvidia-gpu/spdm.ts';
import { caseOf, contextText, fileOf, timeOf, vectorById } from './vector-nvidia-case.ts';
import type { CaseOf, NvidiaCase, NvidiaSet } from './vector-nvidia-case.ts';
import { validityOf } from './vector-nvidia-certificates.ts';
import { membersLine, refusalsOf } from './vector-nvidia-judgement.ts';
import type { CheckTable, KindJudge, Members } from './vector-nvidia-judgement.ts';

const checks: CheckTable = {
  xml: ['rim-xml', 'rim-xml-*', 'rim-size', 'utf8-malformed'],
  root_element: ['rim-xml-namespace', 'rim-one-signature', 'rim-resource'],
  single_signature: ['rim-one-signature'],
  signature_children: ['rim-signature-shape', 'rim-xml-namespace'],
  algorithms: ['rim-algorithm'],
  digest: ['rim-digest'],
  chain_length: ['rim-chain-length'],
  chain_links: ['path-signature', 'path-untrusted'],
  chain_root: ['path-untrusted', 'rim-root', 'rim-debug-root'],
  chain_ca: ['path-authority'],
  chain_time: ['path-validity', 'rim-root-validity'],
  curve: ['rim-chain-algorithms'],
  signature: ['rim-signature'],
  leaf_usage: ['rim-signer-usage'],
  meta: ['rim-element', 'rim-attribute', 'rim-value'],
  payload: ['rim-resource', 'rim-element', 'rim-signature-shape'],
  resources: ['rim-resource', 'rim-attribute', 'rim-value'],
  unique_indices: ['rim-duplicate-index'],
  version: ['rim-version'],
};

export const rimJudge: KindJudge<CaseOf<'rim'>> = {
  checks,
  async failsAlone(subject, check) {
    if (check !== 'signature') return false;
    const [signer] = certificatesOf(subject);
    if (signer === undefined) return true;
    const { signedInfo, value } = readRim(fileOf(subject, 'rim')).signature;
    const key = readSubjectPublicKeyInfo(signer.subjectPublicKeyInfo, 'signer');
    return !(await verifySignature(key, { algorithm: 'ecdsa', hash: 'SHA-384' }, value, signedInfo));
  },
  async refusals(subject) {
    return refusalsOf(async () => {
      const rim = await authenticRim(subject);
      const { product, edition } = rim.manifest;
      return judge((checklist) => {
        const kind = edition === 'GPU' ? 'gpu' : 'switch';
        const wanted = { chip: product, kind, version: contextText(subject, 'expected_version') } as const;
        // The role names the field of a refusal and nothing else.
        appraiseRim('vbios', rim, wanted, { contentDigests: 'any', signerNotBefore: 0 }, checklist);
        return {};
      });
    });
  },
  async *facts(subject) {
    const { id, parsed, chain_validity: validity, expect } = subject.vector;
    if (Object.keys(parsed).length === 0) return;
    const stated = { failing: expect.failing, table: checks };
    yield await membersLine(`${id}#parsed`, parsed, () => manifestMembers(subject), stated);
    if (validity === undefined) return;
    const read = (): Members => ({ validity: validityOf(certificatesOf(subject)) });
    yield await membersLine(`${id}#chain`, { validity }, read, stated);
  },
};

/** @throws RefusalError */
function authenticRim(subject: NvidiaCase): Promise<Trusted<Rim>> {
  const rim = readRim(fileOf(subject, 'rim'));
  return authenticateRim(rim, {
    anchors: nvidiaAnchors,
    time: timeOf(subject),
    // A manifest's vector comes without answers about its certificates: those are vectors of their own.
    revocation: { collateral: new Map(), maxAgeSeconds: 0, missing: 'accept', hold: 'refuse' },
  });
}

function certificatesOf(subject: NvidiaCase): ReturnType<typeof readCertificate>[] {
  const { signature } = readRim(fileOf(subject, 'rim'));
  return signature.certificates.map((der, i) => readCertificate(der, `certificates[${i}]`));
}

function manifestMembers(subject: NvidiaCase): Members {
  const { manifest, content } = readRim(fileOf(subject, 'rim'));
  const { tagId, colloquialVersion, product, edition, measurements, securityVersions } = manifest;
  const several = measurements.filter(({ alternatives }) => alternatives.length > 1);
  const root = readXml(content, 'rim');
  return {
    name: root.attributes.find(({ name }) => name === 'name')?.value,
    tag_id: tagId,
    version: colloquialVersion,
    product,
    edition,
    resources: measurements.length + securityVersions.length,
    active_indices: measurements.filter(({ isActive }) => isActive).map(({ index }) => index),
    multi_alternative_indices: several.map(({ index, alternatives }) => [index, alternatives.length]),
  };
}

const measurementChecks: CheckTable = {
  mismatched: ['rim-measurement'],
  conflict: ['rim-conflict'],
  missing: ['rim-missing'],
};

export const measurementJudge: KindJudge<CaseOf<'measurement'>> = {
  checks: measurementChecks,
  /** The manifest names no checks here: they follow from the result and from the manifests that are there. */
  expectation({ vector }) {
    const { result, uses, expect } = vector;
    const isMissing =
      uses.bios_rim === undefined && (uses.driver_rim === undefined || uses.vbios_rim === undefined);
    const failing = [
      ...(result.mismatched.length > 0 ? ['mismatched'] : []),
      ...(result.conflict.length > 0 ? ['conflict'] : []),
      ...(isMissing ? ['missing'] : []),
    ];
    const outcome = expect.verdict === 'match' ? 'accepted' : 'refused';
    return { outcome, mustFail: failing, allFailing: failing };
  },
  async refusals(subject) {
    const comparison = await compare(subject, 'skip');
    return refusalsOf(() =>
      judge((checklist) => {
        appraiseComparison(comparison, checklist);
        return {};
      }),
    );
  },
  async *facts(subject) {
    const { id, result } = subject.vector;
    const comparison = await compare(subject, 'skip');
    const always = await compare(subject, 'compare');
    const found = {
      compared: comparison.compared,
      skipped: comparison.skipped,
      conflict: comparison.conflicts,
      mismatched: mismatched(comparison),
      uncovered_nonzero: comparison.uncovered,
      mismatched_if_index_35_is_always_compared: mismatched(always),
    };
    yield await membersLine(`${id}#result`, result, () => found, { failing: [], table: measurementChecks });
  },
};

function mismatched({ mismatches }: MeasurementComparison): readonly number[] {
  return mismatches.map(({ index }) => index);
}

const ROLES = { driver_rim: 'driver', vbios_rim: 'vbios', bios_rim: 'switch' } as const;

/** The report of the vector beside its manifests, each authentic at the time of its own vector. */
async function compare(
  { set, vector }: CaseOf<'measurement'>,
  disabledNvdec: ComparisonOptions['disabledNvdec'],
): Promise<MeasurementComparison> {
  const { evidence, ...manifests } = vector.uses;
  const rims = new Map<RimRole, Trusted<Rim>>();
  for (const [name, role] of Object.entries(ROLES)) {
    const id = manifests[name as keyof typeof ROLES];
    if (id !== undefined) rims.set(role, await authenticRim(caseOf(set, vectorById(set, id))));
  }
  const report = reportOf(set, evidence);
  return compareMeasurements(report.message.response.blocks, rims, {
    roles: report.kind === 'gpu' ? ['driver', 'vbios'] : ['switch'],
    nvdec0Status: report.kind === 'gpu' ? report.fields.nvdec0Status : undefined,
    disabledNvdec,
    securityVersions: new Map(),
  });
}

function reportOf(set: NvidiaSet, id: string): DeviceReport {
  const evidence = caseOf(set, vectorById(set, id));
  const kind = evidence.vector.kind === 'switch-evidence' ? 'switch' : 'gpu';
  return readDeviceReport(withoutPadding(fileOf(evidence, 'report')), kind);
}
