import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';

import { computeBinding, computeDeviceValue, paddedLabel } from '../../../attestation/core/binding.ts';
import type { BindingInputs } from '../../../attestation/core/binding.ts';
import { concatBytes, fromHex, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { DeviceSet } from '../../../attestation/core/composite/device-set.ts';
import type { AnyDeviceClass, DeviceClaims, DeviceInputs } from '../../../attestation/core/device-class.ts';
import { encodeEvidence, parseEvidence, verifyEvidence } from '../../../attestation/core/evidence.ts';
import type { DeviceEvidence, EvidenceInputs } from '../../../attestation/core/evidence.ts';
import { objectShape, textShape } from '../../../attestation/core/json-shape.ts';
import { isTrusted } from '../../../attestation/core/trusted.ts';
import { defineChecks, judge } from '../../../attestation/core/verdict.ts';
import type { Checklist } from '../../../attestation/core/verdict.ts';
import { refusalCode } from '../../support/refusal-code.ts';

const checks = defineChecks('inauthentic', {
  'test-device-value': { means: 'Another value.', hint: 'None.', protects: 'Replay.' },
  'test-other': { means: 'Something else.', hint: 'None.', protects: 'Nothing.' },
});

const shape = objectShape({
  name: textShape({ pattern: /^[a-z]+$/ }),
  value: textShape({ pattern: /^[0-9a-f]{64}$/ }),
});

/** A device class that signs nothing: it shows its device value. */
const shownAs = (className: string, bindsCompanions: boolean): AnyDeviceClass => ({
  name: className,
  bindsCompanions,
  parse: shape,
  identify: (evidence) => sha256(toUtf8((evidence as { readonly name: string }).name)),
  verify: (evidence, inputs: DeviceInputs) =>
    judge((checklist: Checklist) => {
      const { name, value } = evidence as { readonly name: string; readonly value: string };
      const expected = toHex(inputs.expectedDeviceValue);
      checklist.demand(checks, 'test-device-value', value === expected, {
        field: 'value',
        expected,
        found: value,
      });
      return { class: className, identity: name, simulated: false } satisfies DeviceClaims;
    }),
  modelOf: ({ identity }) => identity,
  trustVectorOf: () => ({ hardware: 2 }),
});

const registry = new Map(
  [shownAs('shown', false), shownAs('cpu', true)].map((deviceClass) => [deviceClass.name, deviceClass]),
);
const unspecified = { anchors: [], collateral: new Map(), referenceValues: [], policy: null };
const setOf = (shown: number): DeviceSet => [
  { class: 'cpu', count: 1, models: 'any', devices: 'any' },
  { class: 'shown', count: shown, models: 'any', devices: 'any' },
];
const binding = sha256(toUtf8('binding'));
const inputs: EvidenceInputs = {
  binding,
  lab: 'lab',
  time: 0,
  classes: new Map([
    ['shown', unspecified],
    ['cpu', unspecified],
  ]),
  enrolments: new Map(),
  deviceSets: [setOf(1), setOf(2)],
};

function device(name: string, bound = binding, className = 'shown'): DeviceEvidence {
  const value = toHex(computeDeviceValue(className, bound, sha256(toUtf8(name))));
  return { class: className, evidence: { name, value } };
}

const cpu = device('cpu', binding, 'cpu');

describe('the bundle', () => {
  it('EV-3, EV-4: is accepted when every device is, with trusted claims', async () => {
    const devices = parseEvidence(encodeEvidence([device('a'), cpu]), registry);
    const verdict = await verifyEvidence(devices, inputs);
    if (verdict.outcome !== 'accepted') throw new Error('refused');
    expect(verdict.devices.map(({ identity }) => identity)).toEqual(['a', 'cpu']);
    expect(verdict.devices.every(isTrusted)).toBe(true);
    expect(verdict.checks.filter(({ id }) => id === 'test-device-value')).toHaveLength(2);
  });

  it('EV-3: is refused for one device that answers another challenge, with all refusals', async () => {
    const other = sha256(toUtf8('other'));
    const bytes = encodeEvidence([cpu, device('b', other), device('c', other)]);
    const verdict = await verifyEvidence(parseEvidence(bytes, registry), inputs);
    expect(verdict).toMatchObject({
      outcome: 'refused',
      family: 'inauthentic',
      refusals: [{ code: 'test-device-value' }, { code: 'test-device-value' }],
    });
    expect(verdict.checks.filter(({ id }) => id === 'test-device-value')).toHaveLength(3);
  });

  it('EV-2: refuses what is unknown or not configured', async () => {
    const code = (devices: Parameters<typeof encodeEvidence>[0]): string =>
      refusalCode(() => parseEvidence(encodeEvidence(devices), registry));
    expect(code([{ class: 'gpu', evidence: null }])).toBe('evidence-class-unknown');
    const devices = parseEvidence(encodeEvidence([device('a'), cpu]), registry);
    expect(await verifyEvidence(devices, { ...inputs, classes: new Map() })).toMatchObject({
      outcome: 'refused',
      refusals: [{ code: 'evidence-class-unconfigured' }, { code: 'evidence-class-unconfigured' }],
    });
  });

  it('EV-1: refuses other forms, sizes and versions', () => {
    const code = (text: string): string => refusalCode(() => parseEvidence(toUtf8(text), registry));
    expect(code('{"devices":[],"version":1}')).toBe('shape-value');
    expect(code('{"devices":[],"version":2}')).toBe('shape-value');
    expect(code('{"version":1}')).toBe('shape-member');
    expect(code('{"devices":[],"note":1,"version":1}')).toBe('shape-member');
    expect(code('{"version":1,"devices":[]}')).toBe('json-not-canonical');
    expect(code('{"devices":[],"version":1} ')).toBe('json-not-canonical');
    expect(code('{')).toBe('json-malformed');
    expect(code(`"${'x'.repeat(4 * 1024 * 1024)}"`)).toBe('json-too-large');
    const many = Array.from({ length: 33 }, (_, i) =>
      device(String.fromCharCode(97 + (i % 26)).repeat(1 + i / 26)),
    );
    expect(refusalCode(() => parseEvidence(encodeEvidence(many), registry))).toBe('shape-value');
    const named = encodeEvidence([{ class: 'twelve-chars', evidence: null }]);
    expect(refusalCode(() => parseEvidence(named, registry))).toBe('shape-value');
  });
});

describe('verdicts', () => {
  it('EV-4: claims with a failed check are not trusted', async () => {
    const claims = { any: 1 };
    const verdict = await judge((checklist) => {
      checklist.note(checks, 'test-other', false, { field: 'a', expected: 'b', found: 'c' });
      return claims;
    });
    expect(verdict).toMatchObject({ outcome: 'refused', refusals: [{ code: 'test-other', field: 'a' }] });
    expect(isTrusted(claims)).toBe(false);
  });

  it('EV-4: a verification without a check is a defect, and so is another error', async () => {
    await expect(judge(() => ({ any: 1 }))).rejects.toThrow(TypeError);
    await expect(judge(() => Promise.reject(new RangeError('defect')))).rejects.toThrow(RangeError);
  });

  it('EV-4: reports what failed before the check that ended it', async () => {
    const facts = { field: 'a', expected: 'b', found: 'c' };
    const verdict = await judge((checklist: Checklist) => {
      checklist.note(checks, 'test-other', false, facts);
      checklist.demand(checks, 'test-device-value', false, facts);
      return {};
    });
    if (verdict.outcome !== 'refused') throw new Error('accepted');
    expect(verdict.refusals.map(({ code }) => code)).toEqual(['test-other', 'test-device-value']);
    expect(verdict.checks).toHaveLength(2);
  });
});

describe('binding', () => {
  const example: BindingInputs = {
    challengeNonce: new Uint8Array(32).fill(1),
    agentPublicKey: new Uint8Array(1216).fill(2),
    lab: 'lab-one',
    manifestDigest: new Uint8Array(32).fill(3),
    inferencePolicyDigest: new Uint8Array(32).fill(4),
    logOrigin: 'example.org/evaluation',
  };

  it('RP-17: is the hash of the table, byte for byte', () => {
    const label = concatBytes(toUtf8('weightgate/binding/v1'), new Uint8Array(11));
    const expected = sha256(
      concatBytes(
        label,
        example.challengeNonce,
        sha256(example.agentPublicKey),
        sha256(toUtf8(example.lab)),
        example.manifestDigest,
        example.inferencePolicyDigest,
        sha256(toUtf8(example.logOrigin)),
      ),
    );
    expect(toHex(computeBinding(example))).toBe(toHex(expected));
  });

  it('RP-17: changes with every member', () => {
    const changes: readonly Partial<BindingInputs>[] = [
      { challengeNonce: new Uint8Array(32) },
      { agentPublicKey: new Uint8Array(1216) },
      { lab: 'lab-two' },
      { manifestDigest: new Uint8Array(32) },
      { inferencePolicyDigest: new Uint8Array(32) },
      { logOrigin: 'example.org' },
    ];
    const bindings = [{}, ...changes].map((change) => toHex(computeBinding({ ...example, ...change })));
    expect(new Set(bindings).size).toBe(bindings.length);
  });

  it('RP-17: never pads or cuts', () => {
    for (const change of [
      { challengeNonce: new Uint8Array(31) },
      { agentPublicKey: new Uint8Array(32) },
      { manifestDigest: new Uint8Array(33) },
    ]) {
      expect(refusalCode(() => computeBinding({ ...example, ...change }))).toBe('layout-value');
    }
    expect(refusalCode(() => paddedLabel('x'.repeat(33)))).toBe('layout-value');
    expect(refusalCode(() => computeDeviceValue('tpm', new Uint8Array(31), new Uint8Array(32)))).toBe(
      'layout-value',
    );
  });

  it('RP-17: differs from device class to device class', () => {
    const identity = fromHex('ab'.repeat(32), 'identity');
    const values = ['tpm', 'sev-snp'].map((name) => toHex(computeDeviceValue(name, binding, identity)));
    expect(new Set(values).size).toBe(2);
    const label = concatBytes(toUtf8('weightgate/device/tpm/v1'), new Uint8Array(8));
    expect(values[0]).toBe(toHex(sha256(concatBytes(label, binding, identity))));
  });
});
