import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../../attestation/core/canonical-json.ts';
import { appraiseComposition, appraiseSet } from '../../../../attestation/core/composite/appraise.ts';
import type { AcceptedDevice, NamedDevice } from '../../../../attestation/core/composite/appraise.ts';
import {
  countClasses,
  deviceSetsShape,
  deviceSetText,
  nearestSet,
  setsOfClasses,
  strangers,
} from '../../../../attestation/core/composite/device-set.ts';
import type { DeviceDemand, DeviceSet } from '../../../../attestation/core/composite/device-set.ts';
import type { AnyDeviceClass, DeviceClaims } from '../../../../attestation/core/device-class.ts';
import { Checklist } from '../../../../attestation/core/verdict.ts';
import { refusalCode, refusalOf } from '../../../support/refusal-code.ts';

const some = (name: string, count = 1, changes: Partial<DeviceDemand> = {}): DeviceDemand => ({
  class: name,
  count,
  models: 'any',
  devices: 'any',
  ...changes,
});

const IDENTITY = 'ab'.repeat(32);

describe('documents of device sets', () => {
  const demand = { class: 'gpu', count: 1, models: 'any', devices: 'any' };
  const read = (changes: Readonly<Record<string, JsonValue>>): readonly DeviceSet[] =>
    deviceSetsShape([[{ ...demand, ...changes }]], 'sets');

  it('CM-9: are read as they stand', () => {
    expect(read({})).toEqual([[some('gpu')]]);
    const lists = { models: ['GH100', 'a model'], devices: [IDENTITY] };
    expect(read(lists)).toEqual([[some('gpu', 1, lists)]]);
    expect(read({ count: 32, class: 'abc-0123456' })).toHaveLength(1);
    expect(deviceSetsShape([], 'sets')).toEqual([]);
    expect(
      deviceSetsShape(
        Array.from({ length: 16 }, () => [demand]),
        'sets',
      ),
    ).toHaveLength(16);
    expect(deviceSetsShape([Array.from({ length: 32 }, () => demand)], 'sets')).toHaveLength(1);
    expect(read({ models: Array.from({ length: 1024 }, (_, i) => `m${i}`) })).toHaveLength(1);
    expect(read({ models: ['~'.repeat(100)] })).toHaveLength(1);
  });

  it.each<[string, Readonly<Record<string, JsonValue>>, string]>([
    ['no device', { count: 0 }, 'count'],
    ['more devices than a bundle has', { count: 33 }, 'count'],
    ['a class of twelve characters', { class: 'a'.repeat(12) }, 'class'],
    ['a class without a name', { class: '' }, 'class'],
    ['a class in capitals', { class: 'GPU' }, 'class'],
    ['a class with more around it', { class: ' gpu' }, 'class'],
    ['another word than any', { models: 'all' }, 'models'],
    ['no model', { models: [] }, 'models'],
    ['more than 1024 models', { models: Array.from({ length: 1025 }, () => 'm') }, 'models'],
    ['a model without a name', { models: [''] }, 'models[0]'],
    ['a model of 101 characters', { models: ['m'.repeat(101)] }, 'models[0]'],
    ['a model in other characters', { models: ['m', 'ü'] }, 'models[1]'],
    ['a model that begins with another character', { models: ['\nm'] }, 'models[0]'],
    ['a short identity', { devices: ['ab'.repeat(31)] }, 'devices[0]'],
    ['no identity', { devices: [] }, 'devices'],
    ['a number', { devices: 1 }, 'devices'],
  ])('CM-9: with %s are refused', (_, changes, field) => {
    expect(refusalOf(() => read(changes))).toMatchObject({
      code: 'shape-value',
      field: `sets[0][0].${field}`,
    });
  });

  it('CM-9: have bounds, and no empty set', () => {
    for (const sets of [
      Array.from({ length: 17 }, () => [demand]),
      [[]],
      [Array.from({ length: 33 }, () => demand)],
    ]) {
      expect(refusalCode(() => deviceSetsShape(sets, 'sets'))).toBe('shape-value');
    }
  });
});

describe('sets and the classes of a bundle', () => {
  const machine: DeviceSet = [some('cpu'), some('gpu', 2)];

  it('CM-11: are counted class by class', () => {
    expect(countClasses(machine, ['gpu', 'cpu', 'tpm', 'gpu', 'gpu'])).toEqual([
      { class: 'cpu', expected: 1, found: 1 },
      { class: 'gpu', expected: 2, found: 3 },
      { class: 'tpm', expected: 0, found: 1 },
    ]);
    expect(countClasses([some('gpu'), some('gpu', 2)], [])).toEqual([
      { class: 'gpu', expected: 3, found: 0 },
    ]);
    expect(deviceSetText(machine)).toBe('1 × cpu and 2 × gpu');
  });

  it('CM-11: fit exactly or not', () => {
    const more: DeviceSet = [some('cpu'), some('gpu', 3)];
    expect(setsOfClasses([more, machine], ['gpu', 'gpu', 'cpu'])).toEqual([machine]);
    expect(setsOfClasses([more, machine], ['gpu', 'cpu'])).toEqual([]);
  });

  it('CM-11: the nearest is the one with the fewest devices to change', () => {
    const [two, eight] = [[some('gpu', 2)], [some('gpu', 8)]];
    const gpus = (count: number): readonly string[] => Array.from({ length: count }, () => 'gpu');
    expect(nearestSet([eight, two], gpus(3))).toBe(two);
    expect(nearestSet([two, eight], gpus(7))).toBe(eight);
    expect(nearestSet([two, eight], gpus(5))).toBe(two);
    expect(nearestSet([eight, two], gpus(5))).toBe(eight);
    expect(nearestSet([], gpus(5))).toBeUndefined();
  });

  it('CM-9: name models and devices, and what they do not name is a stranger', () => {
    const device = { class: 'gpu', identity: IDENTITY, model: 'GH100' };
    const named = some('gpu', 1, { models: ['GH100'], devices: [IDENTITY] });
    const other = { class: 'gpu', identity: 'cd'.repeat(32), model: 'GB200' };
    expect(strangers([named], [device, other], 'models')).toEqual([other]);
    expect(strangers([named], [device, other], 'devices')).toEqual([other]);
    expect(strangers([some('gpu')], [device, other], 'models')).toEqual([]);
    expect(strangers([some('cpu'), named], [device], 'devices')).toEqual([]);
    expect(strangers([some('cpu')], [device], 'models')).toEqual([device]);
  });
});

interface Claims extends DeviceClaims {
  readonly model: string;
}

/** A class of which a set looks at the name and the binding alone. */
const classOf = (
  name: string,
  bindsCompanions = false,
  appraise?: NonNullable<AnyDeviceClass['appraiseSet']>,
): AnyDeviceClass => ({
  name,
  bindsCompanions,
  parse: () => ({}),
  identify: () => toUtf8(name),
  verify: () => Promise.reject(new Error('a set verifies no device')),
  modelOf: (claims) => (claims as Claims).model,
  trustVectorOf: () => ({}),
  ...(appraise && { appraiseSet: appraise }),
});

const cpu = classOf('cpu', true);
const gpu = classOf('gpu');

type Facts = Readonly<Record<string, readonly [outcome: string, expected: string, found: string]>>;
const factsOf = (checks: Checklist): Facts =>
  Object.fromEntries(
    checks.checks.map(({ id, outcome, expected, found }) => [
      id.replace('composite-', ''),
      [outcome, expected, found],
    ]),
  );

describe('the composition of a machine', () => {
  const named = (deviceClass: AnyDeviceClass, identity: string): NamedDevice => ({ deviceClass, identity });
  const judged = (devices: readonly NamedDevice[], sets: readonly DeviceSet[]): Checklist => {
    const checks = new Checklist();
    appraiseComposition(devices, sets, checks);
    return checks;
  };

  it('CM-11: is that of a declared set', () => {
    const sets = [[some('tpm')], [some('cpu'), some('gpu', 2)]];
    const checks = judged([named(gpu, 'a'), named(cpu, 'a'), named(gpu, 'b')], sets);
    const counts = '1 × cpu and 2 × gpu';
    expect(factsOf(checks)).toEqual({
      'set-undeclared': ['passed', 'at least one set of devices', `1 × tpm, or ${counts}`],
      'device-repeated': ['passed', 'each device once', '3 different ones'],
      'device-missing': ['passed', counts, counts],
      'device-extra': ['passed', counts, counts],
      'binding-missing': ['passed', 'one device that signs for the others', 'cpu'],
      'binding-ambiguous': ['passed', 'one device that signs for the others', 'cpu'],
    });
    expect(checks.checks.map(({ field }) => field)).toEqual([
      'deviceSets',
      ...Array.from({ length: 5 }, () => 'evidence.devices'),
    ]);
  });

  it('CM-7, CM-11: is refused with the counts of the nearest set', () => {
    const sets = [
      [some('cpu'), some('gpu', 8)],
      [some('cpu'), some('gpu', 2)],
    ];
    const checks = judged([named(gpu, 'a'), named(gpu, 'a'), named(gpu, 'b')], sets);
    expect(factsOf(checks)).toMatchObject({
      'device-repeated': ['failed', 'each device once', 'gpu/a twice'],
      'device-missing': ['failed', '1 × cpu and 2 × gpu', '0 × cpu and 3 × gpu'],
      'device-extra': ['failed', '1 × cpu and 2 × gpu', '0 × cpu and 3 × gpu'],
      'binding-missing': ['failed', 'one device that signs for the others', 'none that signs for others'],
      'binding-ambiguous': ['passed', 'one device that signs for the others', 'none that signs for others'],
    });
  });

  it('CM-7: has two that sign for the others only as a refusal', () => {
    const facts = factsOf(judged([named(cpu, 'a'), named(cpu, 'b')], [[some('cpu', 2)]]));
    expect(facts['binding-missing']?.[0]).toBe('passed');
    expect(facts['binding-ambiguous']).toEqual([
      'failed',
      'one device that signs for the others',
      'cpu and cpu',
    ]);
  });

  it('CM-7: needs nobody that signs for others in a device alone', () => {
    const facts = factsOf(judged([named(gpu, 'a')], [[some('gpu')]]));
    expect(facts['binding-missing']).toEqual(['passed', 'one device', 'none that signs for others']);
  });

  it('CM-10: is refused where no set is declared', () => {
    const facts = factsOf(judged([named(cpu, 'a')], []));
    expect(facts).toMatchObject({
      'set-undeclared': ['failed', 'at least one set of devices', 'none'],
      'device-missing': ['passed', '0 × cpu', '1 × cpu'],
      'device-extra': ['failed', '0 × cpu', '1 × cpu'],
    });
    expect(factsOf(judged([], []))['device-extra']).toEqual(['passed', 'nothing', 'nothing']);
  });
});

describe('the set of a machine', () => {
  const device = (deviceClass: AnyDeviceClass, identity: string, model: string): AcceptedDevice<Claims> => ({
    deviceClass,
    claims: { class: deviceClass.name, identity, simulated: false, model },
  });
  const judged = (devices: readonly AcceptedDevice[], sets: readonly DeviceSet[]): Facts => {
    const checks = new Checklist();
    appraiseSet(devices, sets, checks);
    return factsOf(checks);
  };
  const machine = [device(gpu, 'a', 'GH100'), device(gpu, 'b', 'GB200')];

  it('CM-9: names the models and devices that it has', () => {
    const set = [some('gpu', 2, { models: ['GH100', 'GB200'] })];
    expect(judged(machine, [set])).toEqual({
      model: ['passed', 'gpu: GH100 or GB200', 'GH100, GB200'],
      'device-unlisted': ['passed', 'gpu: any', 'a, b'],
    });
  });

  it('CM-9: tells the strangers alone', () => {
    const set = [some('cpu', 0), some('gpu', 2, { models: ['GH100'], devices: ['b'] })];
    expect(judged(machine, [set])).toEqual({
      model: ['failed', 'cpu: any; gpu: GH100', 'GB200'],
      'device-unlisted': ['failed', 'cpu: any; gpu: b', 'a'],
    });
  });

  it('CM-12: is the first of the right counts that fits in models and in devices', () => {
    const models = [some('gpu', 2, { models: ['GH100'] })];
    const devices = [some('gpu', 2, { devices: ['b'] })];
    const fitting = [some('gpu', 2, { models: ['GH100', 'GB200'], devices: ['a', 'b'] })];
    const other = [some('gpu', 1)];
    expect(judged(machine, [other, models, devices, fitting])['model']?.[1]).toBe('gpu: GH100 or GB200');
    expect(judged(machine, [other, devices, models])).toEqual({
      model: ['passed', 'gpu: any', 'GH100, GB200'],
      'device-unlisted': ['failed', 'gpu: b', 'a'],
    });
    expect(judged(machine, [other])).toMatchObject({ model: ['failed', '', 'GH100, GB200'] });
  });

  it('CM-13: asks each class once, with the claims of all devices', () => {
    const asked: (readonly DeviceClaims[])[] = [];
    const asking = classOf('gpu', false, (claims) => {
      asked.push(claims);
    });
    const devices = [device(asking, 'a', 'm'), device(cpu, 'c', 'm'), device(asking, 'b', 'm')];
    judged(devices, [[some('gpu', 2), some('cpu')]]);
    expect(asked).toEqual([devices.map(({ claims }) => claims)]);
  });
});
