/**
 * Appraisal of the platform in an authentic report: chip, firmware levels, and how the host configured it
 * (docs/spec/sev-snp.md, sections 6 and 7).
 */

import { equalBytes, toHex } from '../core/bytes.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { AuthenticReport, TcbVersions } from './authenticate.ts';
import type { ProcessorMinimum, SevSnpPolicy } from './documents.ts';
import { chipIdOf } from './identity.ts';
import type { FirmwareVersion, PlatformInfo } from './layout.ts';
import { firmwareText, isFirmwareBelow } from './minimum-tcb.ts';
import type { Minima } from './minimum-tcb.ts';
import { cpuidText } from './product.ts';
import { componentsBelow, tcbText } from './tcb.ts';

export const platformChecks = defineChecks('unacceptable', {
  'snp-report-version-denied': {
    means: 'The policy does not accept reports of this version.',
    hint: 'Have the host update its firmware; version 2 names no processor, version 4 is not published.',
    protects: 'Fields that newer versions have would be missing from the judgement.',
  },
  'snp-signing-key-denied': {
    means: 'The policy does not accept reports signed by this kind of key.',
    hint: 'Use a host whose reports are signed by the accepted kind.',
    protects: 'A key shared by a whole fleet would be taken for that of one chip, or the other way round.',
  },
  'snp-product-denied': {
    means: 'The policy does not accept this product line.',
    hint: 'Use a machine of an accepted line.',
    protects: 'A line whose root seeds can be extracted could be used.',
  },
  'snp-tcb-order': {
    means: 'The report names a TCB that is above the running firmware’s.',
    hint: 'No sound firmware writes such a report; have the machine examined.',
    protects: 'Inconsistent levels of manipulated firmware would pass the minima one by one.',
  },
  'snp-minimum-missing': {
    means: 'There is no minimum TCB for this processor.',
    hint: 'Add one for its family, model and stepping, or name a set that has one.',
    protects: 'A processor with any firmware, however broken, would be accepted.',
  },
  'snp-reported-tcb-minimum': {
    means: 'The TCB that the key belongs to is below the minimum.',
    hint: 'Update the firmware of the host and raise its reported TCB.',
    protects: 'Firmware with known weaknesses could forge reports.',
  },
  'snp-committed-tcb-minimum': {
    means: 'The host may go back to a TCB below the minimum.',
    hint: 'Have the host commit its firmware (SNP_COMMIT).',
    protects: 'The host could go back to weak firmware right after the report.',
  },
  'snp-launch-tcb-minimum': {
    means: 'The guest was launched under a TCB below the minimum.',
    hint: 'Launch the guest again on the updated host.',
    protects: 'The guest could have been read at launch and the platform updated afterwards.',
  },
  'snp-current-tcb-minimum': {
    means: 'The running firmware is below the minimum.',
    hint: 'Update the firmware of the host.',
    protects: 'Known weaknesses of the running firmware could be used against the guest.',
  },
  'snp-firmware-minimum': {
    means: 'The committed or running firmware is older than the minimum version.',
    hint: 'Update the firmware of the host and commit it.',
    protects: 'Corrections that did not raise a patch level would be missed.',
  },
  'snp-provisional-firmware': {
    means: 'The running firmware is not committed.',
    hint: 'Have the host commit its firmware (SNP_COMMIT), or allow provisional firmware in the policy.',
    protects: 'The host could go back to the firmware before.',
  },
  'snp-platform-required': {
    means: 'The platform lacks a property that the policy requires.',
    hint: 'Have the host switch the named protection on; aliasCheckComplete comes with updated firmware.',
    protects: 'Attacks that the property prevents, such as memory aliasing, would be possible.',
  },
  'snp-platform-forbidden': {
    means: 'The platform has a property that the policy forbids.',
    hint: 'Have the host switch the named property off.',
    protects: 'Attacks that the property makes possible, such as by sibling threads, could be used.',
  },
  'snp-platform-unknown-bits': {
    means: 'The platform sets bits that the policy does not tolerate and this release does not know.',
    hint: 'Bit 6 is set by genuine Turin and later Genoa parts; name it in toleratedUnknownBits to accept it.',
    protects: 'A property that nobody judged would be accepted.',
  },
  'snp-mitigations': {
    means: 'The firmware does not confirm a mitigation that the policy requires.',
    hint: 'Update the host; mitigations at launch need the guest to be launched again. Reports have them since version 5.',
    protects: 'A weakness whose correction needs more than new firmware would remain.',
  },
  'snp-chip-masked': {
    means: 'The report hides its chip.',
    hint: 'Have the host clear MASK_CHIP_ID, or allow masked chips: the certificate names the chip all the same.',
    protects: 'A chip that the firmware did not name would be taken from the certificate alone.',
  },
  'snp-chip-denied': {
    means: 'The chip is on the deny list, or not on the list of accepted ones.',
    hint: 'Have the operator accept the chip; a provider’s key names none.',
    protects: 'A chip whose keys were extracted, or one outside the operator’s reach, could be used.',
  },
  'snp-csp-denied': {
    means: 'The policy does not accept this provider’s key.',
    hint: 'Use a provider that is accepted, or have it added.',
    protects: 'Any guest in another provider’s fleet would count.',
  },
  'snp-revocation-missing': {
    means: 'There is no revocation list for the product line.',
    hint: 'Give the verifier AMD’s current list, or state in the policy that it may be missing.',
    protects: 'A revoked authority could go on certifying keys.',
  },
  'snp-revocation-age': {
    means: 'The revocation list is older than the policy allows, or older than one that was seen.',
    hint: 'Fetch the current list from AMD’s key server.',
    protects: 'A list from before a revocation could be put in place.',
  },
});

/** Appraises chip, firmware and platform. @param time POSIX seconds */
export function appraisePlatform(
  authentic: AuthenticReport,
  policy: SevSnpPolicy,
  minima: Minima,
  time: number,
  checks: Checklist,
): void {
  noteKind(authentic, policy, checks);
  noteChip(authentic, policy, checks);
  noteTcb(authentic, minima, checks);
  noteProvisional(authentic, policy, checks);
  notePlatformInfo(authentic.report.platformInfo, policy, checks);
  noteMitigations(authentic, policy, checks);
  noteRevocation(authentic, policy, time, checks);
}

function noteKind({ report, chain }: AuthenticReport, policy: SevSnpPolicy, checks: Checklist): void {
  const accepted: readonly number[] = policy.reportVersions;
  checks.note(platformChecks, 'snp-report-version-denied', accepted.includes(report.version), {
    field: 'report.version',
    expected: accepted.join(' or '),
    found: String(report.version),
  });
  checks.note(platformChecks, 'snp-signing-key-denied', policy.signingKeys.includes(chain.key.kind), {
    field: 'report.keyInfo.signingKey',
    expected: policy.signingKeys.join(' or '),
    found: chain.key.kind,
  });
  checks.note(platformChecks, 'snp-product-denied', policy.productLines.includes(chain.key.line), {
    field: 'certificate.productName',
    expected: policy.productLines.join(' or '),
    found: chain.key.line,
  });
}

function noteChip({ chain, isChipMasked }: AuthenticReport, policy: SevSnpPolicy, checks: Checklist): void {
  const { key } = chain;
  const { allowed, denied, allowMasked } = policy.chips;
  if (key.kind === 'vlek') {
    checks.note(platformChecks, 'snp-csp-denied', policy.cspIds.includes(key.cspId), {
      field: 'certificate.cspId',
      expected: policy.cspIds.join(' or ') || 'no provider',
      found: key.cspId,
    });
  } else {
    checks.note(platformChecks, 'snp-chip-masked', !isChipMasked || allowMasked, {
      field: 'report.chipId',
      expected: allowMasked ? 'a chip or zeros' : 'a chip',
      found: isChipMasked ? 'zeros' : 'a chip',
    });
  }
  const chip = key.kind === 'vcek' ? chipIdOf(key.hardwareId) : undefined;
  const isOn = (list: readonly Uint8Array[]): boolean =>
    chip !== undefined && list.some((one) => equalBytes(chipIdOf(one), chip));
  checks.note(platformChecks, 'snp-chip-denied', (allowed === 'any' || isOn(allowed)) && !isOn(denied), {
    field: 'certificate.hwid',
    expected: allowed === 'any' ? `none of ${denied.length} denied` : `one of ${allowed.length} accepted`,
    found: key.kind === 'vcek' ? toHex(key.hardwareId) : 'no chip, as a provider’s key signed',
  });
}

const MINIMUM_CODES = {
  reported: 'snp-reported-tcb-minimum',
  committed: 'snp-committed-tcb-minimum',
  launch: 'snp-launch-tcb-minimum',
  current: 'snp-current-tcb-minimum',
} as const satisfies Readonly<Record<keyof TcbVersions, keyof typeof platformChecks.codes>>;

function noteTcb({ report, chain, tcb }: AuthenticReport, minima: Minima, checks: Checklist): void {
  const above = (['reported', 'committed'] as const).filter(
    (name) => componentsBelow(tcb.current, tcb[name]).length > 0,
  );
  checks.note(platformChecks, 'snp-tcb-order', above.length === 0, {
    field: 'report.currentTcb',
    expected: `at least the reported and the committed TCB`,
    found: above.length === 0 ? tcbText(tcb.current) : `below the ${above.join(' and the ')} one`,
  });
  const processor = report.cpuid === undefined ? chain.key.line : cpuidText(report.cpuid);
  const minimum = minima.get(processor);
  checks.note(platformChecks, 'snp-minimum-missing', minimum !== undefined, {
    field: 'policy.minimumTcb',
    expected: `a minimum for ${processor}`,
    found: minimum === undefined ? `none among ${minima.size}` : 'one',
  });
  if (minimum !== undefined) noteMinimum(report, tcb, minimum, checks);
}

function noteMinimum(
  report: AuthenticReport['report'],
  tcb: TcbVersions,
  minimum: ProcessorMinimum,
  checks: Checklist,
): void {
  for (const name of ['reported', 'committed', 'launch', 'current'] as const) {
    const below = componentsBelow(tcb[name], minimum.tcb);
    checks.note(platformChecks, MINIMUM_CODES[name], below.length === 0, {
      field: `report.${name}Tcb`,
      expected: `at least ${tcbText(minimum.tcb)} for ${minimum.processor}`,
      found: tcbText(tcb[name]),
    });
  }
  const versions = [report.committedVersion, report.currentVersion];
  const isBelow = versions.some((version) => isFirmwareBelow(version, minimum.firmware));
  checks.note(platformChecks, 'snp-firmware-minimum', !isBelow, {
    field: 'report.committedVersion',
    expected: `at least ${firmwareText(minimum.firmware)} for ${minimum.processor}`,
    found: versions.map(firmwareText).join(' committed, '),
  });
}

function noteProvisional({ report, tcb }: AuthenticReport, policy: SevSnpPolicy, checks: Checklist): void {
  const { committedVersion, currentVersion } = report;
  const isCommitted =
    isSameVersion(committedVersion, currentVersion) &&
    componentsBelow(tcb.committed, tcb.current).length === 0;
  checks.note(platformChecks, 'snp-provisional-firmware', isCommitted || policy.allowProvisionalFirmware, {
    field: 'report.committedTcb',
    expected: policy.allowProvisionalFirmware ? 'any' : 'the running firmware',
    found: isCommitted
      ? 'the running firmware'
      : `${firmwareText(committedVersion)}, ${tcbText(tcb.committed)}`,
  });
}

function isSameVersion(left: FirmwareVersion, right: FirmwareVersion): boolean {
  return !isFirmwareBelow(left, right) && !isFirmwareBelow(right, left);
}

function notePlatformInfo(
  info: PlatformInfo,
  { platformInfo: rules }: SevSnpPolicy,
  checks: Checklist,
): void {
  const missing = rules.required.filter((name) => !info[name]);
  checks.note(platformChecks, 'snp-platform-required', missing.length === 0, {
    field: 'report.platformInfo',
    expected: rules.required.join(', ') || 'nothing in particular',
    found: missing.length === 0 ? 'all of it' : `not ${missing.join(', ')}`,
  });
  const present = rules.forbidden.filter((name) => info[name]);
  checks.note(platformChecks, 'snp-platform-forbidden', present.length === 0, {
    field: 'report.platformInfo',
    expected: rules.forbidden.length === 0 ? 'anything' : `not ${rules.forbidden.join(', ')}`,
    found: present.join(', ') || 'none of it',
  });
  const unknown = info.unknownBits & ~rules.toleratedUnknownBits;
  checks.note(platformChecks, 'snp-platform-unknown-bits', unknown === 0n, {
    field: 'report.platformInfo',
    expected: `no unknown bits outside 0x${rules.toleratedUnknownBits.toString(16)}`,
    found: `0x${info.unknownBits.toString(16)}`,
  });
}

function noteMitigations({ report }: AuthenticReport, policy: SevSnpPolicy, checks: Checklist): void {
  const { launch, current } = report.mitigations ?? { launch: 0n, current: 0n };
  const { mitigations: required } = policy;
  const holds = (required.launch & ~launch) === 0n && (required.current & ~current) === 0n;
  checks.note(platformChecks, 'snp-mitigations', holds, {
    field: 'report.mitigations',
    expected: `launch 0x${required.launch.toString(16)}, current 0x${required.current.toString(16)}`,
    found:
      report.mitigations === undefined
        ? 'none in this version'
        : `launch 0x${launch.toString(16)}, current 0x${current.toString(16)}`,
  });
}

function noteRevocation(
  { chain, revocation }: AuthenticReport,
  { revocation: rules }: SevSnpPolicy,
  time: number,
  checks: Checklist,
): void {
  const { line } = chain.key;
  const mayBeMissing = rules.missingList === 'accept';
  checks.note(platformChecks, 'snp-revocation-missing', revocation !== undefined || mayBeMissing, {
    field: 'collateral',
    expected: mayBeMissing ? 'a list or none' : `a list of ARK-${line}`,
    found: revocation === undefined ? 'none' : `number ${revocation.number}`,
  });
  if (revocation === undefined) return;
  const ageSeconds = time - revocation.thisUpdate;
  const minimum = rules.minimumNumbers[line];
  const isRecent = ageSeconds <= rules.maxAgeSeconds && revocation.number >= minimum;
  checks.note(platformChecks, 'snp-revocation-age', isRecent, {
    field: 'collateral',
    expected: `at most ${rules.maxAgeSeconds} seconds old, number at least ${minimum}`,
    found: `${ageSeconds} seconds old, number ${revocation.number}`,
  });
}
