/**
 * Appraisal of the guest in an authentic report: how it was launched, what it is, and who asked. Floors first: they hold
 * whatever the policy says (docs/spec/sev-snp.md, section 6).
 */

import { equalBytes, isZero, toHex } from '../core/bytes.ts';
import { oncePer } from '../core/certificate-memory.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { LaunchReference, SevSnpPolicy } from './documents.ts';
import { HOST_REQUESTED } from './layout.ts';
import type { AttestationReport, GuestPolicy } from './layout.ts';

export const guestChecks = defineChecks('unacceptable', {
  'snp-debug': {
    means: 'The guest may be debugged by its host.',
    hint: 'Launch the guest with the DEBUG bit of its policy clear.',
    protects: 'The host could read and change all memory of the guest.',
  },
  'snp-policy-reserved': {
    means: 'Bit 17 of the guest policy is clear, which no firmware allows.',
    hint: 'Launch the guest with bit 17 of its policy set.',
    protects: 'A policy with other rules could be read by the rules of this one.',
  },
  'snp-policy-unknown-bits': {
    means: 'The guest policy has bits that this release does not know.',
    hint: 'Update the verifier, or launch the guest without them.',
    protects: 'A permission that nobody judged would be granted.',
  },
  'snp-host-requested': {
    means: 'The host asked for this report, not the guest.',
    hint: 'Have the report made inside the guest.',
    protects: 'The host could answer in the place of the guest.',
  },
  'snp-vmpl': {
    means: 'The report was asked for at a privilege level that is not accepted.',
    hint: 'Ask for it at level 0, or at the level at which this guest’s design runs its agent.',
    protects: 'Less privileged code in the guest could obtain what is meant for the more privileged.',
  },
  'snp-report-data-zero': {
    means: 'REPORT_DATA is all zeros.',
    hint: 'Ask for the report over the value of the challenge.',
    protects: 'Reports that bind nothing, as some services publish them, could be sent along.',
  },
  'snp-migration-agent': {
    means: 'The guest has a migration agent that the policy does not name.',
    hint: 'Launch the guest without a migration agent, or have the agent’s own report verified and its id accepted.',
    protects: 'A migration agent can take the whole guest out of the machine.',
  },
  'snp-measurement-missing': {
    means: 'There are no reference values for launch measurements.',
    hint: 'Derive the measurement of the image and publish it as a reference value.',
    protects: 'Any guest would be accepted.',
  },
  'snp-measurement': {
    means: 'The guest was launched from something that is not among the reference values.',
    hint: 'Launch the published image with the published parameters, or have the new measurement approved.',
    protects: 'A guest that runs other firmware, kernel or commands would get the key.',
  },
  'snp-guest-abi': {
    means: 'The guest accepts firmware of an ABI version below the policy’s.',
    hint: 'Launch the guest with a higher minimum ABI in its policy.',
    protects: 'The guest could have been launched on older firmware than the owner wants.',
  },
  'snp-guest-policy-required': {
    means: 'The guest policy lacks a restriction that the operator requires.',
    hint: 'Launch the guest with the restriction in its policy.',
    protects: 'The guest could be moved to a machine without this protection.',
  },
  'snp-guest-policy-forbidden': {
    means: 'The guest policy grants a permission that the operator forbids.',
    hint: 'Launch the guest without the permission in its policy.',
    protects: 'The guest could be run with the weakness that the permission allows.',
  },
  'snp-guest-svn': {
    means: 'The guest’s security version is below the minimum.',
    hint: 'Launch a newer image with its ID block.',
    protects: 'An older image of the same owner could be brought back.',
  },
  'snp-family-id': {
    means: 'The family of the image is not accepted.',
    hint: 'Launch an image with an accepted ID block.',
    protects: 'Another image of the same owner could be used.',
  },
  'snp-image-id': {
    means: 'The image id is not accepted.',
    hint: 'Launch an image with an accepted ID block.',
    protects: 'Another image of the same owner could be used.',
  },
  'snp-id-key': {
    means: 'The launch was not signed by an accepted ID key.',
    hint: 'Launch the guest with an ID block signed by an accepted key.',
    protects: 'Anybody’s ID block, with values of his choosing, would count.',
  },
  'snp-author-key': {
    means: 'The ID key was not signed by an accepted author key.',
    hint: 'Launch the guest with an author key that is accepted.',
    protects: 'Anybody’s author key would count.',
  },
  'snp-author-key-flag': {
    means:
      'The report has an author key digest but says that there is no author key, or the other way round.',
    hint: 'No firmware writes such a report; have the machine examined.',
    protects: 'A digest that nobody verified would count.',
  },
  'snp-host-data': {
    means: 'HOST_DATA is not what the operator expects.',
    hint: 'Launch the guest with the expected HOST_DATA, all zeros where none is used.',
    protects: 'The host could give the same image another configuration.',
  },
});

/** Appraises and returns the name of the launch that the guest matches; empty if none. */
export function appraiseGuest(
  report: AttestationReport,
  policy: SevSnpPolicy,
  launches: readonly LaunchReference[],
  checks: Checklist,
): string {
  noteFloors(report, policy, checks);
  noteVmpl(report, policy, checks);
  noteGuestPolicy(report.policy, policy, checks);
  noteIdBlock(report, policy, checks);
  checks.note(guestChecks, 'snp-host-data', isAmong(report.hostData, policy.hostData), {
    field: 'report.hostData',
    expected: acceptedText(policy.hostData),
    found: toHex(report.hostData),
  });
  return noteMeasurement(report, launches, checks);
}

function isAmong(value: Uint8Array, accepted: readonly Uint8Array[] | 'any'): boolean {
  return accepted === 'any' || accepted.some((one) => equalBytes(one, value));
}

const SHOWN = 4;

function acceptedText(accepted: readonly Uint8Array[] | 'any'): string {
  return accepted === 'any' ? 'any' : listText(accepted);
}

/** The lists are those of a policy, which judges many reports. */
const listText = oncePer((accepted: readonly Uint8Array[]): string => {
  const shown = accepted.slice(0, SHOWN).map(toHex).join(' or ');
  return accepted.length > SHOWN ? `${shown} or one of ${accepted.length - SHOWN} more` : shown;
});

function noteFloors(report: AttestationReport, policy: SevSnpPolicy, checks: Checklist): void {
  const { debug, reserved17, unknownBits, migrateMa } = report.policy;
  checks.note(guestChecks, 'snp-debug', !debug, {
    field: 'report.policy.debug',
    expected: 'false',
    found: String(debug),
  });
  checks.note(guestChecks, 'snp-policy-reserved', reserved17, {
    field: 'report.policy.reserved17',
    expected: 'true',
    found: String(reserved17),
  });
  checks.note(guestChecks, 'snp-policy-unknown-bits', unknownBits === 0n, {
    field: 'report.policy',
    expected: 'no bit above 25',
    found: `0x${unknownBits.toString(16)}`,
  });
  checks.note(guestChecks, 'snp-report-data-zero', !isZero(report.reportData), {
    field: 'report.reportData',
    expected: 'a value',
    found: isZero(report.reportData) ? 'zeros' : 'one',
  });
  const hasNoAgent = report.reportIdMa.every((byte) => byte === 0xff);
  const isAccepted = hasNoAgent ? !migrateMa : isAmong(report.reportIdMa, policy.migrationAgents);
  checks.note(guestChecks, 'snp-migration-agent', isAccepted, {
    field: 'report.reportIdMa',
    expected: `no agent and no leave to migrate${policy.migrationAgents.length > 0 ? `, or ${listText(policy.migrationAgents)}` : ''}`,
    found: `${hasNoAgent ? 'no agent' : toHex(report.reportIdMa)}, ${migrateMa ? 'leave to migrate' : 'no leave'}`,
  });
}

function noteVmpl({ vmpl }: AttestationReport, policy: SevSnpPolicy, checks: Checklist): void {
  checks.note(guestChecks, 'snp-host-requested', vmpl !== HOST_REQUESTED, {
    field: 'report.vmpl',
    expected: 'a level of the guest',
    found: vmpl === HOST_REQUESTED ? 'the host’s mark' : String(vmpl),
  });
  if (vmpl === HOST_REQUESTED) return;
  checks.note(guestChecks, 'snp-vmpl', policy.vmpls.includes(vmpl), {
    field: 'report.vmpl',
    expected: policy.vmpls.join(' or '),
    found: String(vmpl),
  });
}

function noteGuestPolicy(guest: GuestPolicy, { guestPolicy: rules }: SevSnpPolicy, checks: Checklist): void {
  const { minimumAbi } = rules;
  const isAbi =
    guest.abiMajor > minimumAbi.major ||
    (guest.abiMajor === minimumAbi.major && guest.abiMinor >= minimumAbi.minor);
  checks.note(guestChecks, 'snp-guest-abi', isAbi, {
    field: 'report.policy.abi',
    expected: `at least ${minimumAbi.major}.${minimumAbi.minor}`,
    found: `${guest.abiMajor}.${guest.abiMinor}`,
  });
  const missing = rules.required.filter((name) => !guest[name]);
  checks.note(guestChecks, 'snp-guest-policy-required', missing.length === 0, {
    field: 'report.policy',
    expected: rules.required.join(', ') || 'nothing in particular',
    found: missing.length === 0 ? 'all of it' : `not ${missing.join(', ')}`,
  });
  const granted = rules.forbidden.filter((name) => guest[name]);
  checks.note(guestChecks, 'snp-guest-policy-forbidden', granted.length === 0, {
    field: 'report.policy',
    expected: rules.forbidden.length === 0 ? 'anything' : `not ${rules.forbidden.join(', ')}`,
    found: granted.join(', ') || 'none of it',
  });
}

function noteIdBlock(report: AttestationReport, policy: SevSnpPolicy, checks: Checklist): void {
  const { guestSvn, familyId, imageId, idKeyDigest, authorKeyDigest, keyInfo } = report;
  checks.note(guestChecks, 'snp-guest-svn', guestSvn >= policy.minimumGuestSvn, {
    field: 'report.guestSvn',
    expected: `at least ${policy.minimumGuestSvn}`,
    found: String(guestSvn),
  });
  const listed = [
    ['snp-family-id', 'familyId', familyId, policy.familyIds],
    ['snp-image-id', 'imageId', imageId, policy.imageIds],
    ['snp-id-key', 'idKeyDigest', idKeyDigest, policy.idKeyDigests],
    ['snp-author-key', 'authorKeyDigest', authorKeyDigest, policy.authorKeyDigests],
  ] as const;
  for (const [code, member, value, accepted] of listed) {
    checks.note(guestChecks, code, isAmong(value, accepted), {
      field: `report.${member}`,
      expected: acceptedText(accepted),
      found: toHex(value),
    });
  }
  checks.note(guestChecks, 'snp-author-key-flag', keyInfo.authorKeyEn === !isZero(authorKeyDigest), {
    field: 'report.keyInfo.authorKeyEn',
    expected: String(!isZero(authorKeyDigest)),
    found: String(keyInfo.authorKeyEn),
  });
}

function noteMeasurement(
  { measurement }: AttestationReport,
  launches: readonly LaunchReference[],
  checks: Checklist,
): string {
  checks.note(guestChecks, 'snp-measurement-missing', launches.length > 0, {
    field: 'referenceValues',
    expected: 'at least one launch measurement',
    found: String(launches.length),
  });
  const match = launches.find((launch) => equalBytes(launch.measurement, measurement));
  if (launches.length > 0) {
    checks.note(guestChecks, 'snp-measurement', match !== undefined, {
      field: 'report.measurement',
      expected: listText(launches.map((launch) => launch.measurement)),
      found: toHex(measurement),
    });
  }
  return match?.name ?? '';
}
