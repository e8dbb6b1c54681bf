/**
 * Appraisal of an authentic report: chip, versions, mode, device, manifests and measurements. Floors hold whatever the policy
 * says: minimum versions, a match with every manifest that the device needs, and their revocation
 * (docs/spec/nvidia-gpu.md, section 6).
 */

import { equalBytes, toHex } from '../core/bytes.ts';
import type { CertificateMemory } from '../core/certificate-memory.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import type { Trusted } from '../core/trusted.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { AuthenticReport } from './authenticate.ts';
import { revocationClaims } from './claims.ts';
import type { AppraisalClaims, ManifestClaims } from './claims.ts';
import type { DevicePolicy, ManifestReference, MinimumVersionSet } from './documents.ts';
import { appraiseMode } from './mode.ts';
import { appraiseVersions, mergeMinimumVersions } from './minimum-versions.ts';
import { issuedCertificates, judgeRevocation } from './ocsp/appraise.ts';
import { judgeRemoteResult } from './remote-result.ts';
import type { DeviceReport } from './report.ts';
import { appraiseComparison, appraiseRim } from './rim/appraise.ts';
import { authenticateRim } from './rim/authenticate.ts';
import type { Rim } from './rim/authenticate.ts';
import { compareMeasurements } from './rim/compare.ts';
import type { RimRole } from './rim/compare.ts';
import { readRim } from './rim/document.ts';
import { driverRimId, switchRimId, vbiosRimId } from './rim/identifier.ts';

export const appraisalChecks = defineChecks('unacceptable', {
  'gpu-chip-policy': {
    means: 'The policy does not accept this chip.',
    hint: 'Use a machine with an accepted chip, or have the operator accept this one.',
    protects: 'Chips that the operator did not examine could be used.',
  },
  'gpu-device-denied': {
    means: 'The device is on the policy’s list of denied ones, or not on that of allowed ones.',
    hint: 'Use another machine, or have the operator change the list.',
    protects: 'A device that was stolen, opened or never vetted could be used.',
  },
  'gpu-switch-unlocked': {
    means: 'The configuration of the switch is not locked.',
    hint: 'Have the fabric manager lock the switch before the evidence is collected.',
    protects: 'The host could lead NVLink traffic elsewhere afterwards.',
  },
  'gpu-switch-pdi': {
    means: 'The switch reports another number than its certificate has.',
    hint: 'No sound firmware writes such a report; have the machine examined.',
    protects: 'One switch could stand for another in the topology.',
  },
  'gpu-manifest': {
    means: 'A manifest that the device needs was not given.',
    hint: 'Have the operator fetch it from NVIDIA under the name that is expected.',
    protects: 'Measurements would stay unexamined.',
  },
  'gpu-manifest-denied': {
    means: 'The policy denies this issue of a manifest.',
    hint: 'Run software with another manifest, or fetch the issue that replaced it.',
    protects: 'An issue that turned out to be wrong could be used.',
  },
  'gpu-manifest-authentic': {
    means: 'A manifest that was given is not authentic or not in force.',
    hint: 'Fetch the manifest again, with current OCSP answers about its certificates.',
    protects: 'Reference values of anybody would count as the vendor’s.',
  },
  'gpu-uncovered-blocks': {
    means: 'The report has measurements that no manifest covers and the policy does not name.',
    hint: 'A newer manifest may cover them; have the operator examine the firmware before naming them in the policy.',
    protects: 'Firmware that nobody measured against anything could run.',
  },
});

export interface AppraisalInputs<Policy extends DevicePolicy = DevicePolicy> {
  readonly policy: Policy;
  readonly manifests: readonly ManifestReference[];
  readonly minimumSets: readonly MinimumVersionSet[];
  readonly anchors: readonly TrustAnchor[];
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  /** POSIX seconds. */
  readonly time: number;
  readonly memory?: CertificateMemory | undefined;
}

/** What appraisal found, and whether a manifest or a remote result is about simulated hardware. */
export interface AppraisalResult {
  readonly claims: AppraisalClaims;
  readonly isSimulated: boolean;
}

/**
 * Appraises. What does not hold is noted; manifests and revocation that are not authentic end it.
 *
 * @throws RefusalError `gpu-*`, `ocsp-*`, `rim-*`, `nras-*`, `path-*`, and what reading manifests throws
 */
export async function appraiseDevice(
  authentic: AuthenticReport,
  inputs: AppraisalInputs,
  checks: Checklist,
): Promise<AppraisalResult> {
  const { report, chip, chain } = authentic;
  const { policy, collateral, time, memory } = inputs;
  const revocationRules = { ...policy.revocation, missing: 'refuse', hold: 'refuse' } as const;
  const known = await judgeRevocation(
    issuedCertificates(chain.certificates).slice(1),
    { collateral, time, memory, ...revocationRules },
    checks,
  );
  noteChip(chip, policy, checks);
  noteDevice(authentic.identity, policy, checks);
  if (report.kind === 'switch') noteSwitch(report, chain.bootRom.pdi, checks);
  if (report.kind === 'gpu' && policy.class === 'nvidia-gpu') appraiseMode(report.fields, policy, checks);
  const { sets, chips } = policy.minimumVersions;
  appraiseVersions(report, chip, mergeMinimumVersions(inputs.minimumSets, sets, chips), checks);
  const rims = await appraiseManifests(authentic, inputs, checks);
  const remote = await judgeRemoteResult(authentic, inputs, checks);
  return {
    claims: {
      manifests: [...rims].map(([role, rim]) => manifestClaims(role, rim)),
      measurements: noteMeasurements(report, rims, policy, checks),
      minimumVersionSets: sets,
      revocation: revocationClaims(known),
      remoteResult: remote.claims,
    },
    isSimulated: remote.isSimulated || [...rims.values()].some(({ simulated }) => simulated),
  };
}

function noteChip(chip: string, policy: DevicePolicy, checks: Checklist): void {
  const chips: readonly string[] = policy.chips;
  checks.note(appraisalChecks, 'gpu-chip-policy', chips.includes(chip), {
    field: 'chip',
    expected: chips.join(' or '),
    found: chip,
  });
}

function noteDevice(identity: Uint8Array, { devices }: DevicePolicy, checks: Checklist): void {
  const isAmong = (list: readonly Uint8Array[]): boolean => list.some((one) => equalBytes(one, identity));
  const { allowed, denied } = devices;
  const isAllowed = allowed === 'any' || isAmong(allowed);
  checks.note(appraisalChecks, 'gpu-device-denied', isAllowed && !isAmong(denied), {
    field: 'identity',
    expected: `${allowed === 'any' ? 'any' : `one of ${allowed.length}`} but ${denied.length} denied ones`,
    found: toHex(identity),
  });
}

const LOCKED = 1;

function noteSwitch({ fields }: DeviceReport & { kind: 'switch' }, pdi: Uint8Array, checks: Checklist): void {
  checks.note(appraisalChecks, 'gpu-switch-unlocked', fields.lockStatus === LOCKED, {
    field: 'report.opaqueData.lockStatus',
    expected: String(LOCKED),
    found: String(fields.lockStatus),
  });
  checks.note(appraisalChecks, 'gpu-switch-pdi', equalBytes(fields.pdi, pdi), {
    field: 'report.opaqueData.pdi',
    expected: toHex(pdi),
    found: toHex(fields.pdi),
  });
}

interface NeededManifest {
  readonly role: RimRole;
  /** Under which name it stands in the collateral. */
  readonly name: string;
  /** That the report states. */
  readonly version: string;
}

/** Under which name a manifest stands in the collateral. @param identifier from rim/identifier.ts */
export function rimCollateralName(identifier: string): string {
  return `rim:${identifier}`;
}

/** The manifests that a device needs, by its signed fields. @throws RefusalError `rim-identifier` */
export function neededManifests({
  report,
  chip,
}: Pick<AuthenticReport, 'report' | 'chip'>): readonly NeededManifest[] {
  const { fields, kind } = report;
  if (kind === 'switch') {
    const name = rimCollateralName(switchRimId(fields));
    return [{ role: 'switch', name, version: fields.vbiosVersion }];
  }
  const { driverVersion, vbiosVersion } = report.fields;
  const driver = rimCollateralName(driverRimId({ chip, driverVersion }));
  return [
    { role: 'driver', name: driver, version: driverVersion },
    { role: 'vbios', name: rimCollateralName(vbiosRimId(report.fields)), version: vbiosVersion },
  ];
}

async function appraiseManifests(
  authentic: AuthenticReport,
  inputs: AppraisalInputs,
  checks: Checklist,
): Promise<ReadonlyMap<RimRole, Trusted<Rim>>> {
  const { policy, manifests, collateral } = inputs;
  const { issues, signerNotBefore } = policy.manifests;
  const listed = manifests.map(({ contentDigest }) => contentDigest);
  const issuePolicy = { contentDigests: issues === 'any' ? issues : listed, signerNotBefore };
  const rims = new Map<RimRole, Trusted<Rim>>();
  for (const needed of neededManifests(authentic)) {
    const bytes = collateral.get(needed.name);
    checks.note(appraisalChecks, 'gpu-manifest', bytes !== undefined, {
      field: needed.name,
      expected: `the manifest of the ${needed.role}`,
      found: bytes === undefined ? 'none' : 'one',
    });
    if (bytes === undefined) continue;
    const rim = await authenticateManifest(bytes, needed, inputs, checks);
    const wanted = { chip: authentic.chip, kind: authentic.report.kind, version: needed.version };
    appraiseRim(needed.role, rim, wanted, issuePolicy, checks);
    noteDenied(rim, needed, policy, checks);
    rims.set(needed.role, rim);
  }
  return rims;
}

function authenticateManifest(
  bytes: Uint8Array,
  { name }: NeededManifest,
  { policy, anchors, collateral, time, memory }: AppraisalInputs,
  checks: Checklist,
): Promise<Trusted<Rim>> {
  const { maxAgeSeconds } = policy.revocation;
  const revocation = { collateral, maxAgeSeconds, missing: 'refuse', hold: policy.manifests.hold } as const;
  const facts = { field: name, expected: 'a manifest signed by an accepted authority' };
  return checks.attempt(appraisalChecks, 'gpu-manifest-authentic', facts, () =>
    authenticateRim(readRim(bytes, memory), { anchors, time, memory, revocation }),
  );
}

function noteDenied(
  { contentDigest }: Trusted<Rim>,
  { name }: NeededManifest,
  { manifests }: DevicePolicy,
  checks: Checklist,
): void {
  const isDenied = manifests.deniedDigests.some((digest) => equalBytes(digest, contentDigest));
  checks.note(appraisalChecks, 'gpu-manifest-denied', !isDenied, {
    field: name,
    expected: `none of ${manifests.deniedDigests.length} denied issues`,
    found: toHex(contentDigest),
  });
}

/** Types of opaque data that are security versions, by the entry that holds them. */
const FSP_UCODE_SVN = 37;

function noteMeasurements(
  report: DeviceReport,
  rims: ReadonlyMap<RimRole, Trusted<Rim>>,
  { manifests }: DevicePolicy,
  checks: Checklist,
): AppraisalClaims['measurements'] {
  const fields = report.kind === 'gpu' ? report.fields : undefined;
  const svn = fields?.fspUcodeSvn;
  const comparison = compareMeasurements(report.message.response.blocks, rims, {
    roles: report.kind === 'gpu' ? ['driver', 'vbios'] : ['switch'],
    nvdec0Status: fields?.nvdec0Status,
    disabledNvdec: manifests.disabledNvdec,
    securityVersions: new Map(svn === undefined ? [] : [[FSP_UCODE_SVN, svn]]),
  });
  appraiseComparison(comparison, checks);
  const { compared, skipped, uncovered } = comparison;
  const strange = uncovered.filter((index) => !manifests.uncovered.includes(index));
  checks.note(appraisalChecks, 'gpu-uncovered-blocks', strange.length === 0, {
    field: 'measurements',
    expected: `zeros where no manifest has a value${manifests.uncovered.length > 0 ? `, but for ${manifests.uncovered.join(' ')}` : ''}`,
    found: strange.length === 0 ? 'that' : `values at ${strange.join(' ')}`,
  });
  return { compared, skipped, uncovered };
}

function manifestClaims(role: RimRole, rim: Trusted<Rim>): ManifestClaims {
  const { manifest, contentDigest, signerNotBefore, signerNotAfter, anchor } = rim;
  const version = manifest.colloquialVersion;
  return { role, version, contentDigest: toHex(contentDigest), signerNotBefore, signerNotAfter, anchor };
}
