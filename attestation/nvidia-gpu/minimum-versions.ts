/** The oldest versions that are accepted: named sets and the policy's own, merged to the highest. */

import { defineRefusals } from '../core/refusal.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { MinimumVersions, MinimumVersionSet } from './documents.ts';
import type { DeviceReport } from './report.ts';
import { isDriverBelow, isVbiosBelow } from './vbios-version.ts';

export const minimumRefusals = defineRefusals('malformed', {
  'gpu-minimum-set': {
    means: 'A set of minimum versions that the policy names is not there exactly once.',
    hint: 'Publish the set under its name, or name another in the policy.',
  },
});

export const versionChecks = defineChecks('unacceptable', {
  'gpu-minimum-missing': {
    means: 'There are no minimum versions for this chip.',
    hint: 'Add some to the policy, or name a set that has them.',
    protects: 'A device with any driver and firmware, however broken, would be accepted.',
  },
  'gpu-driver-minimum': {
    means: 'The driver is older than the minimum.',
    hint: 'Update the driver of the guest.',
    protects: 'Known weaknesses of the driver and its firmware could be used.',
  },
  'gpu-vbios-minimum': {
    means: 'The firmware of the board (VBIOS) is older than the minimum.',
    hint: 'Have the machine’s owner update the firmware.',
    protects: 'Known weaknesses of the firmware could be used.',
  },
});

/**
 * The highest of each version, by chip.
 *
 * @throws RefusalError `gpu-minimum-set`
 */
export function mergeMinimumVersions(
  sets: readonly MinimumVersionSet[],
  named: readonly string[],
  own: readonly MinimumVersions[],
): ReadonlyMap<string, MinimumVersions> {
  const fromSets = named.flatMap((name) => {
    const [set, ...more] = sets.filter((candidate) => candidate.name === name);
    if (set !== undefined && more.length === 0) return set.bulletins.flatMap(({ chips }) => chips);
    throw minimumRefusals.error('gpu-minimum-set', {
      field: `policy.minimumVersions.sets ${name}`,
      expected: 'one among the reference values',
      found: set === undefined ? 'none' : String(more.length + 1),
    });
  });
  const merged = new Map<string, MinimumVersions>();
  for (const minimum of [...fromSets, ...own]) {
    merged.set(minimum.chip, higherOf(merged.get(minimum.chip) ?? minimum, minimum));
  }
  return merged;
}

function higherOf(left: MinimumVersions, right: MinimumVersions): MinimumVersions {
  const vbios = isVbiosBelow(left.vbios, right.vbios) ? right.vbios : left.vbios;
  if (left.driver === undefined || right.driver === undefined) return { chip: left.chip, vbios };
  const driver = isDriverBelow(left.driver, right.driver) ? right.driver : left.driver;
  return { chip: left.chip, driver, vbios };
}

export function appraiseVersions(
  report: DeviceReport,
  chip: string,
  minima: ReadonlyMap<string, MinimumVersions>,
  checks: Checklist,
): void {
  const minimum = minima.get(chip);
  checks.note(versionChecks, 'gpu-minimum-missing', minimum !== undefined, {
    field: 'policy.minimumVersions',
    expected: `minimum versions for ${chip}`,
    found: minimum === undefined ? `none among ${minima.size}` : 'one',
  });
  if (minimum === undefined) return;
  const { vbiosVersion } = report.fields;
  checks.note(versionChecks, 'gpu-vbios-minimum', !isVbiosBelow(vbiosVersion, minimum.vbios), {
    field: 'report.opaqueData.vbiosVersion',
    expected: `at least ${minimum.vbios} for ${chip}`,
    found: vbiosVersion,
  });
  if (report.kind === 'switch' || minimum.driver === undefined) return;
  const { driverVersion } = report.fields;
  checks.note(versionChecks, 'gpu-driver-minimum', !isDriverBelow(driverVersion, minimum.driver), {
    field: 'report.opaqueData.driverVersion',
    expected: `at least ${minimum.driver} for ${chip}`,
    found: driverVersion,
  });
}
