/**
 * Whether authentic manifests are the right ones for a device and whether its report matches them. No policy loosens what is
 * here but where it says so: which issues are accepted, and the video decoder.
 */

import { equalBytes, toHex } from '../../core/bytes.ts';
import type { RefusalFacts } from '../../core/refusal.ts';
import type { Trusted } from '../../core/trusted.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import type { Rim } from './authenticate.ts';
import type {
  MeasurementComparison,
  MeasurementMismatch,
  OutdatedSecurityVersion,
  RimRole,
} from './compare.ts';

export const rimAppraisalChecks = defineChecks('unacceptable', {
  'rim-product': {
    means: 'A manifest is for another chip.',
    hint: 'Fetch the manifest for the chip of the device: the service has manifests for other chips under like identifiers.',
    protects: 'The values of another product could be taken for those of this one.',
  },
  'rim-edition': {
    means: 'A manifest is for another kind of device.',
    hint: 'A GPU needs manifests of edition GPU, an NVSwitch one of edition SWITCH.',
    protects: 'The values of a switch could be taken for those of a GPU.',
  },
  'rim-version': {
    means: 'A manifest is for another version than the report states.',
    hint: 'Fetch the manifest for the version that runs, or run the version of the manifest.',
    protects: 'A signed manifest of vulnerable software could be put in place.',
  },
  'rim-issue': {
    means: 'A manifest is not one of the issues that the policy accepts.',
    hint: 'NVIDIA has issued other values for the same version; have the operator look at this one and add its digest.',
    protects: 'An issue that was replaced could be used again.',
  },
  'rim-issue-date': {
    means: 'The signer’s certificate of a manifest is older than the policy accepts.',
    hint: 'Fetch the current issue of the manifest.',
    protects: 'An issue of before the last correction could be used again.',
  },
  'rim-missing': {
    means: 'A manifest that the device needs is not there, or has no value to compare with.',
    hint: 'A GPU needs the manifests of its driver and of its VBIOS, an NVSwitch that of its firmware.',
    protects: 'Half of the measurements would stay unexamined.',
  },
  'rim-incomplete': {
    means: 'A manifest leaves out measurements that every manifest for this chip has.',
    hint: 'Fetch the manifest again; a newer chip or release may need a newer release of the verifier.',
    protects: 'A manifest without values would match every report.',
  },
  'rim-conflict': {
    means: 'Two manifests of one device are about the same measurement.',
    hint: 'One manifest may stand there in two roles; fetch both again.',
    protects: 'The weaker of two values could win.',
  },
  'rim-measurement': {
    means: 'A measurement of the device is none of the accepted values.',
    hint: 'The device runs other firmware or another configuration than NVIDIA released for these versions, or is in a debug mode.',
    protects: 'Altered firmware, or a GPU that can be debugged, could hold the weights.',
  },
  'rim-security-version': {
    means: 'Firmware of the device has a security version below the minimum of its manifest, or states none.',
    hint: 'Update the firmware of the device.',
    protects: 'Firmware with a known weakness could run.',
  },
  'rim-nvdec-status': {
    means: 'The report does not say whether the video decoder is enabled.',
    hint: 'Collect the report again with a driver that states it.',
    protects: 'A third value could switch the comparison off.',
  },
});

/** What the device that is judged is, by its signed fields. */
export interface WantedRim {
  readonly chip: string;
  readonly kind: 'gpu' | 'switch';
  /** Of the driver or the VBIOS, by the role. */
  readonly version: string;
}

/** Which issues of a manifest the policy accepts. Both are judged. */
export interface RimIssuePolicy {
  /** SHA-384 of the canonical content. */
  readonly contentDigests: readonly Uint8Array[] | 'any';
  /** Since when the signer's certificate is valid at the earliest, POSIX seconds. */
  readonly signerNotBefore: number;
}

/** Judges whether a manifest is the one for the device. */
export function appraiseRim(
  role: RimRole,
  { manifest, contentDigest, signerNotBefore }: Trusted<Rim>,
  wanted: WantedRim,
  issues: RimIssuePolicy,
  checks: Checklist,
): void {
  const { product, edition, colloquialVersion } = manifest;
  const note = (
    code: keyof typeof rimAppraisalChecks.codes,
    holds: boolean,
    member: string,
    expected: string,
    found: string,
  ): void => {
    checks.note(rimAppraisalChecks, code, holds, { field: `rim.${role}.${member}`, expected, found });
  };
  note('rim-product', product === wanted.chip, 'product', wanted.chip, product);
  const wantedEdition = wanted.kind === 'gpu' ? 'GPU' : 'SWITCH';
  note('rim-edition', edition === wantedEdition, 'edition', wantedEdition, edition);
  const isOfVersion = colloquialVersion === wanted.version;
  note('rim-version', isOfVersion, 'colloquialVersion', wanted.version, colloquialVersion);
  const { contentDigests, signerNotBefore: earliest } = issues;
  const isAccepted =
    contentDigests === 'any' || contentDigests.some((digest) => equalBytes(digest, contentDigest));
  const accepted = contentDigests === 'any' ? 'any' : `one of ${contentDigests.length} accepted`;
  note('rim-issue', isAccepted, 'contentDigest', accepted, toHex(contentDigest));
  const isRecent = signerNotBefore >= earliest;
  note('rim-issue-date', isRecent, 'signerNotBefore', `${earliest} or later`, String(signerNotBefore));
}

/** Judges a comparison. Blocks that no manifest covers are not judged here. */
export function appraiseComparison(comparison: MeasurementComparison, checks: Checklist): void {
  const { absent, incomplete, conflicts, lacksNvdecStatus } = comparison;
  const note = (
    code: keyof typeof rimAppraisalChecks.codes,
    expected: string,
    problems: readonly string[],
  ): void => {
    const found = problems.join('; ') || 'as expected';
    checks.note(rimAppraisalChecks, code, problems.length === 0, { field: 'measurements', expected, found });
  };
  const gaps = incomplete.map(({ role, indices }) => `${role} without ${indices.join(' ')}`);
  note('rim-missing', 'all manifests of the device, each with values', absent);
  note('rim-incomplete', 'the measurements of the chip', gaps);
  note('rim-conflict', 'each measurement in one manifest', conflicts.map(String));
  note('rim-nvdec-status', 'enabled or disabled', lacksNvdecStatus ? ['neither'] : []);
  noteEach('rim-measurement', comparison.mismatches.map(mismatchFacts), checks);
  noteEach('rim-security-version', comparison.outdated.map(outdatedFacts), checks);
}

/** One check where nothing is wrong; else one for each that is, so that a person sees all of them with their values. */
function noteEach(
  code: 'rim-measurement' | 'rim-security-version',
  problems: readonly RefusalFacts[],
  checks: Checklist,
): void {
  const good = { field: 'measurements', expected: 'what the manifests say', found: 'as expected' };
  if (problems.length === 0) checks.note(rimAppraisalChecks, code, true, good);
  for (const facts of problems) checks.note(rimAppraisalChecks, code, false, facts);
}

function mismatchFacts({ role, index, name, expected, found }: MeasurementMismatch): RefusalFacts {
  return {
    field: `measurements[${index}]`,
    expected: `${expected.join(' or ')} (${role}, ${name})`,
    found: found ?? 'no such block',
  };
}

function outdatedFacts({ role, opaqueType, name, minimum, found }: OutdatedSecurityVersion): RefusalFacts {
  return {
    field: `opaqueData[${opaqueType}]`,
    expected: `at least ${minimum} (${role}, ${name})`,
    found: found === undefined ? 'none' : String(found),
  };
}
