/**
 * Appraisal of the platform in an authentic report: chip, how the host configured it, and how recent the verifier's
 * knowledge of revocations is (docs/spec/sev-snp.md, section 7).
 */

import { equalBytes, toHex } from '../core/bytes.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { AuthenticReport } from './authenticate.ts';
import type { SevSnpPolicy } from './documents.ts';
import { chipIdOf } from './identity.ts';
import type { PlatformInfo } from './layout.ts';

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

/** Appraises chip and platform. @param time POSIX seconds */
export function appraisePlatform(
  authentic: AuthenticReport,
  policy: SevSnpPolicy,
  time: number,
  checks: Checklist,
): void {
  noteKind(authentic, policy, checks);
  noteChip(authentic, policy, checks);
  notePlatformInfo(authentic.report.platformInfo, policy, checks);
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
