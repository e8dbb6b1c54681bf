/**
 * Whether the devices of a bundle are one machine of a declared set (docs/spec/composite.md, sections 2 and 3). What can
 * be said of claimed devices is said before anything is verified; models and topology wait for trusted claims.
 */

import type { AnyDeviceClass, DeviceClaims } from '../device-class.ts';
import { defineChecks } from '../verdict.ts';
import type { Checklist } from '../verdict.ts';
import { countClasses, deviceSetText, nearestSet, setsOfClasses, strangers } from './device-set.ts';
import type { ClassCount, DeviceSet, JudgedDevice } from './device-set.ts';

export const compositionChecks = defineChecks('unacceptable', {
  'composite-set-undeclared': {
    means: 'No set of devices is declared, so that no machine is accepted.',
    hint: 'The owner has to name the accepted sets of devices in the release policy.',
    protects: 'A machine of whatever devices would count as one that somebody wanted.',
  },
  'composite-device-repeated': {
    means: 'A bundle names the same device twice.',
    hint: 'Send the evidence of each device once.',
    protects: 'One good device could stand for several.',
  },
  'composite-device-missing': {
    means: 'A device of the declared set is not in the bundle.',
    hint: 'Collect evidence of all devices of the set; see that none was left out by a driver or an option.',
    protects: 'The device that would be refused could be left out.',
  },
  'composite-device-extra': {
    means: 'The bundle has a device that the declared set does not name.',
    hint: 'Send evidence of the devices of one set and of nothing else, or have the owner declare a set with it.',
    protects: 'A device that nobody wanted could take part.',
  },
  'composite-binding-missing': {
    means: 'None of several devices signs for the others.',
    hint: 'A machine of several devices needs a CPU whose report names their evidence, such as SEV-SNP.',
    protects: 'Devices of different machines could be put together.',
  },
  'composite-binding-ambiguous': {
    means: 'Two devices of the bundle sign for the others.',
    hint: 'Send the evidence of one machine: it has one trusted execution environment.',
    protects: 'Two machines could share the devices of one.',
  },
});

export const setChecks = defineChecks('unacceptable', {
  'composite-model': {
    means: 'A device is of another model than the declared set allows.',
    hint: 'Use a machine with the named models, or have the owner declare a set with this one.',
    protects: 'A weaker device of the same class could take the place of the one that was wanted.',
  },
  'composite-device-unlisted': {
    means: 'A device is not on the list of the declared set.',
    hint: 'Have the owner add the device to the set, or use one that is on its list.',
    protects: 'A device that nobody vetted could take part.',
  },
});

/** A device as its evidence claims it. */
export interface NamedDevice {
  readonly deviceClass: AnyDeviceClass;
  readonly identity: string;
}

const FIELD = 'evidence.devices';

/** Counts, repetition and who signs for whom. Notes everything: a person wants to see all that is wrong. */
export function appraiseComposition(
  devices: readonly NamedDevice[],
  sets: readonly DeviceSet[],
  checks: Checklist,
): void {
  checks.note(compositionChecks, 'composite-set-undeclared', sets.length > 0, {
    field: 'deviceSets',
    expected: 'at least one set of devices',
    found: sets.map(deviceSetText).join(', or ') || 'none',
  });
  noteRepetition(devices, checks);
  const classes = devices.map(({ deviceClass }) => deviceClass.name);
  const [nearest] = setsOfClasses(sets, classes);
  noteCounts(countClasses(nearest ?? nearestSet(sets, classes) ?? [], classes), checks);
  noteBinding(devices, checks);
}

function noteRepetition(devices: readonly NamedDevice[], checks: Checklist): void {
  const keys = devices.map(({ deviceClass, identity }) => `${deviceClass.name}/${identity}`);
  const repeated = keys.find((key, i) => keys.indexOf(key) !== i);
  checks.note(compositionChecks, 'composite-device-repeated', repeated === undefined, {
    field: FIELD,
    expected: 'each device once',
    found: repeated === undefined ? `${keys.length} different ones` : `${repeated} twice`,
  });
}

function noteCounts(counts: readonly ClassCount[], checks: Checklist): void {
  const text = (member: 'expected' | 'found'): string =>
    counts.map((count) => `${count[member]} × ${count.class}`).join(' and ') || 'nothing';
  const facts = { field: FIELD, expected: text('expected'), found: text('found') };
  const isMissing = counts.some(({ expected, found }) => found < expected);
  const isExtra = counts.some(({ expected, found }) => found > expected);
  checks.note(compositionChecks, 'composite-device-missing', !isMissing, facts);
  checks.note(compositionChecks, 'composite-device-extra', !isExtra, facts);
}

function noteBinding(devices: readonly NamedDevice[], checks: Checklist): void {
  const binding = devices.filter(({ deviceClass }) => deviceClass.bindsCompanions);
  const facts = {
    field: FIELD,
    expected: devices.length > 1 ? 'one device that signs for the others' : 'one device',
    found: binding.map(({ deviceClass }) => deviceClass.name).join(' and ') || 'none that signs for others',
  };
  const isAlone = devices.length === 1;
  checks.note(compositionChecks, 'composite-binding-missing', isAlone || binding.length > 0, facts);
  checks.note(compositionChecks, 'composite-binding-ambiguous', binding.length < 2, facts);
}

/** A device with claims that were verified. */
export interface AcceptedDevice<Claims extends DeviceClaims = DeviceClaims> {
  readonly deviceClass: AnyDeviceClass;
  readonly claims: Claims;
}

/** Models, lists, and what the classes demand among their devices. */
export function appraiseSet(
  devices: readonly AcceptedDevice[],
  sets: readonly DeviceSet[],
  checks: Checklist,
): void {
  const judged = devices.map(({ deviceClass, claims }) => ({
    class: claims.class,
    identity: claims.identity,
    model: deviceClass.modelOf(claims),
  }));
  noteMembership(chooseSet(sets, judged), judged, checks);
  const claims = devices.map((device) => device.claims);
  for (const deviceClass of new Set(devices.map((device) => device.deviceClass))) {
    deviceClass.appraiseSet?.(claims, checks);
  }
}

/** Of the sets with the right counts the first whose models and lists fit; else the first, to say what does not. */
function chooseSet(sets: readonly DeviceSet[], devices: readonly JudgedDevice[]): DeviceSet {
  const candidates = setsOfClasses(
    sets,
    devices.map((device) => device.class),
  );
  const fits = (set: DeviceSet): boolean =>
    strangers(set, devices, 'models').length + strangers(set, devices, 'devices').length === 0;
  return candidates.find(fits) ?? candidates[0] ?? [];
}

function noteMembership(set: DeviceSet, devices: readonly JudgedDevice[], checks: Checklist): void {
  const otherModels = strangers(set, devices, 'models');
  checks.note(setChecks, 'composite-model', otherModels.length === 0, {
    field: FIELD,
    expected: demanded(set, 'models'),
    found: (otherModels.length > 0 ? otherModels : devices).map(({ model }) => model).join(', '),
  });
  const unlisted = strangers(set, devices, 'devices');
  checks.note(setChecks, 'composite-device-unlisted', unlisted.length === 0, {
    field: FIELD,
    expected: demanded(set, 'devices'),
    found: (unlisted.length > 0 ? unlisted : devices).map(({ identity }) => identity).join(', '),
  });
}

function demanded(set: DeviceSet, member: 'models' | 'devices'): string {
  return set
    .map((demand) => {
      const allowed = demand[member];
      return `${demand.class}: ${allowed === 'any' ? 'any' : allowed.join(' or ')}`;
    })
    .join('; ');
}
