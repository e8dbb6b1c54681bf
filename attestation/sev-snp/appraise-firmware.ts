/**
 * Appraisal of the firmware in an authentic report: its levels now, at launch and after a return to what is committed
 * (docs/spec/sev-snp.md, sections 6 and 8).
 */

import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { AuthenticReport, TcbVersions } from './authenticate.ts';
import type { ProcessorMinimum, SevSnpPolicy } from './documents.ts';
import type { FirmwareVersion } from './layout.ts';
import { firmwareText, isFirmwareBelow } from './minimum-tcb.ts';
import type { Minima } from './minimum-tcb.ts';
import { cpuidText } from './product.ts';
import { componentsBelow, tcbText } from './tcb.ts';

export const firmwareChecks = defineChecks('unacceptable', {
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
  'snp-mitigations': {
    means: 'The firmware does not confirm a mitigation that the policy requires.',
    hint: 'Update the host; mitigations at launch need the guest to be launched again. Reports have them since version 5.',
    protects: 'A weakness whose correction needs more than new firmware would remain.',
  },
});

/** Appraises the firmware. @param minima of all processors, merged */
export function appraiseFirmware(
  authentic: AuthenticReport,
  policy: SevSnpPolicy,
  minima: Minima,
  checks: Checklist,
): void {
  noteTcb(authentic, minima, checks);
  noteProvisional(authentic, policy, checks);
  noteMitigations(authentic, policy, checks);
}

const MINIMUM_CODES = {
  reported: 'snp-reported-tcb-minimum',
  committed: 'snp-committed-tcb-minimum',
  launch: 'snp-launch-tcb-minimum',
  current: 'snp-current-tcb-minimum',
} as const satisfies Readonly<Record<keyof TcbVersions, keyof typeof firmwareChecks.codes>>;

function noteTcb({ report, chain, tcb }: AuthenticReport, minima: Minima, checks: Checklist): void {
  const above = (['reported', 'committed'] as const).filter(
    (name) => componentsBelow(tcb.current, tcb[name]).length > 0,
  );
  checks.note(firmwareChecks, 'snp-tcb-order', above.length === 0, {
    field: 'report.currentTcb',
    expected: `at least the reported and the committed TCB`,
    found: above.length === 0 ? tcbText(tcb.current) : `below the ${above.join(' and the ')} one`,
  });
  const processor = report.cpuid === undefined ? chain.key.line : cpuidText(report.cpuid);
  const minimum = minima.get(processor);
  checks.note(firmwareChecks, 'snp-minimum-missing', minimum !== undefined, {
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
    checks.note(firmwareChecks, MINIMUM_CODES[name], below.length === 0, {
      field: `report.${name}Tcb`,
      expected: `at least ${tcbText(minimum.tcb)} for ${minimum.processor}`,
      found: tcbText(tcb[name]),
    });
  }
  const versions = [report.committedVersion, report.currentVersion];
  const isBelow = versions.some((version) => isFirmwareBelow(version, minimum.firmware));
  checks.note(firmwareChecks, 'snp-firmware-minimum', !isBelow, {
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
  checks.note(firmwareChecks, 'snp-provisional-firmware', isCommitted || policy.allowProvisionalFirmware, {
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

function noteMitigations({ report }: AuthenticReport, policy: SevSnpPolicy, checks: Checklist): void {
  const { launch, current } = report.mitigations ?? { launch: 0n, current: 0n };
  const { mitigations: required } = policy;
  const holds = (required.launch & ~launch) === 0n && (required.current & ~current) === 0n;
  checks.note(firmwareChecks, 'snp-mitigations', holds, {
    field: 'report.mitigations',
    expected: `launch 0x${required.launch.toString(16)}, current 0x${required.current.toString(16)}`,
    found:
      report.mitigations === undefined
        ? 'none in this version'
        : `launch 0x${launch.toString(16)}, current 0x${current.toString(16)}`,
  });
}
