import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';

import { computeDeviceValue } from '../../../attestation/core/binding.ts';
import { fromHex, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { computeCompanionsDigest, NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import type { AnyDeviceClass, DeviceInputs } from '../../../attestation/core/device-class.ts';
import {
  deviceKey,
  digestOfEvidence,
  encodeEvidence,
  parseEvidence,
  verifyEvidence,
} from '../../../attestation/core/evidence.ts';
import type { ClassInputs, EvidenceInputs } from '../../../attestation/core/evidence.ts';
import { objectShape, textShape } from '../../../attestation/core/json-shape.ts';
import { defineChecks, judge } from '../../../attestation/core/verdict.ts';
import { refusalOf } from '../../support/refusal-code.ts';

const own = defineChecks('inauthentic', {
  'test-own': { means: 'Another device.', hint: 'None.', protects: 'Nothing.' },
});
const among = defineChecks('unacceptable', {
  'test-among': { means: 'Devices that do not fit.', hint: 'None.', protects: 'Nothing.' },
});

interface Named {
  readonly name: string;
}

const nameOf = (evidence: object): string => (evidence as Named).name;
const identityOf = (name: string): Uint8Array => sha256(toUtf8(name));

/** What each device was asked with, by its name. */
type Asked = Map<string, DeviceInputs>;

/** Of these devices `bad` is refused, `simulated` is simulated, and `misfit` does not fit to the others. */
function classOf(className: string, bindsCompanions: boolean, asked: Asked): AnyDeviceClass {
  return {
    name: className,
    bindsCompanions,
    parse: objectShape({ name: textShape({ pattern: /^[a-z]+$/ }) }),
    identify: (evidence) => identityOf(nameOf(evidence)),
    verify: (evidence, inputs) =>
      judge((checks) => {
        const name = nameOf(evidence);
        asked.set(name, inputs);
        const facts = { field: 'name', expected: 'another', found: name };
        checks.note(own, 'test-own', name !== 'bad', facts);
        return { class: className, identity: name, simulated: name === 'simulated' };
      }),
    modelOf: () => 'model',
    trustVectorOf: () => ({}),
    appraiseSet: (devices, checks) => {
      const names = devices.map(({ identity }) => identity);
      const facts = { field: 'devices', expected: 'fitting ones', found: names.join(' ') };
      checks.note(among, 'test-among', !names.includes('misfit'), facts);
    },
  };
}

const asked: Asked = new Map();
const registry = new Map(
  [classOf('cpu', true, asked), classOf('gpu', false, asked)].map((one) => [one.name, one]),
);
const cpuInputs: ClassInputs = {
  anchors: [],
  collateral: new Map([['list', Uint8Array.of(1)]]),
  referenceValues: ['of the CPU'],
  policy: { of: 'cpu' },
};
const gpuInputs: ClassInputs = { ...cpuInputs, referenceValues: [], policy: { of: 'gpu' } };
const INPUTS: EvidenceInputs = {
  binding: sha256(toUtf8('binding')),
  lab: 'lab-one',
  time: 77,
  classes: new Map([
    ['cpu', cpuInputs],
    ['gpu', gpuInputs],
  ]),
  enrolments: new Map(),
  deviceSets: [1, 2].map((count) => [
    { class: 'cpu', count: 1, models: 'any', devices: 'any' },
    { class: 'gpu', count, models: 'any', devices: 'any' },
  ]),
};

const member = (className: string, name: string) => ({ class: className, evidence: { name } });
const parse = (...members: readonly ReturnType<typeof member>[]) =>
  parseEvidence(encodeEvidence(members), registry);

function verify(names: readonly string[], changes: Partial<EvidenceInputs> = {}) {
  asked.clear();
  const devices = parse(...names.map((name) => member(name.startsWith('cpu') ? 'cpu' : 'gpu', name)));
  return verifyEvidence(devices, { ...INPUTS, ...changes });
}

describe('a bundle as it is read', () => {
  it('EV-1: names its devices as their classes do', () => {
    const [device] = parse(member('gpu', 'a'));
    expect(device).toMatchObject({
      deviceClass: registry.get('gpu'),
      evidence: { name: 'a' },
      identity: toHex(identityOf('a')),
    });
    const digest = sha256(encodeCanonicalJson({ name: 'a' }));
    expect(device?.evidenceDigest).toEqual(digest);
    expect(digestOfEvidence({ name: 'a' })).toEqual(digest);
    expect(deviceKey('gpu', 'ab')).toBe('gpu/ab');
  });

  it('EV-1: is refused with the place of what is wrong', () => {
    expect(refusalOf(() => parse(member('gpu', 'a'), member('tpm', 'a')))).toMatchObject({
      code: 'evidence-class-unknown',
      field: 'evidence.devices[1].class',
      expected: 'cpu, gpu',
      found: 'tpm',
    });
    expect(refusalOf(() => parse(member('gpu', 'a'), member('gpu', 'A')))).toMatchObject({
      code: 'shape-value',
      field: 'evidence.devices[1].evidence.name',
    });
    expect(refusalOf(() => parse())).toMatchObject({ field: 'evidence.devices' });
    expect(refusalOf(() => parse(member('', 'a')))).toMatchObject({ field: 'evidence.devices[0].class' });
    expect(refusalOf(() => parse(member(' gpu', 'a')))).toMatchObject({ field: 'evidence.devices[0].class' });
    const many = Array.from({ length: 33 }, () => member('gpu', 'a'));
    expect(parse(...many.slice(1))).toHaveLength(32);
    expect(refusalOf(() => parse(...many))).toMatchObject({ code: 'shape-value', field: 'evidence.devices' });
  });
});

describe('what each device of a bundle is asked with', () => {
  it('RP-17, EV-2: its own value, the configuration of its class, and its own record', async () => {
    const key = deviceKey('gpu', toHex(identityOf('a')));
    await verify(['a', 'cpu'], { enrolments: new Map([[key, 'record']]) });
    expect(asked.get('a')).toMatchObject({
      ...gpuInputs,
      lab: 'lab-one',
      time: 77,
      enrolment: 'record',
      expectedDeviceValue: computeDeviceValue('gpu', INPUTS.binding, identityOf('a')),
    });
    expect(asked.get('cpu')).toMatchObject({ ...cpuInputs, enrolment: undefined });
  });

  it('CM-1: the digest over all others and not itself', async () => {
    await verify(['a', 'b', 'cpu']);
    const companion = (className: string, name: string) => ({
      deviceClass: className,
      identity: fromHex(toHex(identityOf(name)), 'identity'),
      evidenceDigest: digestOfEvidence({ name }),
    });
    const [a, b, cpu] = [companion('gpu', 'a'), companion('gpu', 'b'), companion('cpu', 'cpu')];
    expect(asked.get('cpu')?.companionsDigest).toEqual(computeCompanionsDigest([a, b]));
    expect(asked.get('a')?.companionsDigest).toEqual(computeCompanionsDigest([b, cpu]));
    const alone = [[{ class: 'cpu', count: 1, models: 'any', devices: 'any' }]] as const;
    await verify(['cpu'], { deviceSets: alone });
    expect(asked.get('cpu')?.companionsDigest).toEqual(NO_COMPANIONS);
  });
});

describe('the verdict on a bundle', () => {
  it('CM-15: is simulated if one of its devices is', async () => {
    expect(await verify(['a', 'cpu'])).toMatchObject({ outcome: 'accepted', simulated: false });
    const verdict = await verify(['simulated', 'cpu']);
    expect(verdict).toMatchObject({
      outcome: 'accepted',
      simulated: true,
      devices: [{ identity: 'simulated' }, { identity: 'cpu' }],
    });
  });

  it('CM-12: is given before any device is asked where the set is another', async () => {
    const verdict = await verify(['a', 'b', 'c', 'cpu']);
    expect(verdict).toMatchObject({ outcome: 'refused', refusals: [{ code: 'composite-device-extra' }] });
    expect(asked.size).toBe(0);
  });

  it('EV-3, EV-4: has the checks of the composition, of each device, and of the machine', async () => {
    const idsOf = async (names: readonly string[]) =>
      (await verify(names)).checks.map(({ id }) => id).filter((id) => id.startsWith('test-'));
    expect(await idsOf(['a', 'cpu'])).toEqual(['test-own', 'test-own', 'test-among', 'test-among']);
    expect(await idsOf(['bad', 'cpu'])).toEqual(['test-own', 'test-own']);
    const { checks } = await verify(['a', 'cpu']);
    expect(checks[0]?.id).toBe('composite-set-undeclared');
    expect(checks.map(({ id }) => id)).toContain('composite-model');
  });

  it('CM-13, CM-14: is a refusal where the devices do not fit, with all checks', async () => {
    const verdict = await verify(['misfit', 'cpu']);
    expect(verdict).toMatchObject({
      outcome: 'refused',
      family: 'unacceptable',
      refusals: [{ code: 'test-among', found: 'misfit cpu' }, { code: 'test-among' }],
    });
    expect(verdict.checks.filter(({ id }) => id === 'test-own')).toHaveLength(2);
    expect(verdict.checks.some(({ id }) => id === 'composite-set-undeclared')).toBe(true);
  });

  it('EV-2: names the class that is not configured, and those that are', async () => {
    const refused = (classes: EvidenceInputs['classes']) => verify(['a', 'cpu'], { classes });
    expect(await refused(new Map([['cpu', cpuInputs]]))).toMatchObject({
      outcome: 'refused',
      family: 'unacceptable',
      refusals: [
        {
          code: 'evidence-class-unconfigured',
          field: 'evidence.devices',
          expected: 'cpu',
          found: 'gpu',
        },
      ],
    });
    expect(await refused(new Map())).toMatchObject({
      refusals: [{ expected: 'a configured class', found: 'gpu' }, { found: 'cpu' }],
    });
  });

  it('EV-3: is of the family of the first device that is refused', async () => {
    const verdict = await verify(['bad', 'cpu'], { classes: new Map([['gpu', gpuInputs]]) });
    expect(verdict).toMatchObject({
      outcome: 'refused',
      family: 'inauthentic',
      refusals: [{ code: 'test-own' }, { code: 'evidence-class-unconfigured' }],
    });
  });
});
