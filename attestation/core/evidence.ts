/**
 * The evidence bundle: what all devices of one machine have to say about one challenge (docs/spec/evidence.md,
 * section 1), and its verification as a whole.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { computeDeviceValue } from './binding.ts';
import { fromHex, toHex } from './bytes.ts';
import { decodeCanonicalJson, encodeCanonicalJson } from './canonical-json.ts';
import type { JsonValue } from './canonical-json.ts';
import { appraiseComposition, appraiseSet } from './composite/appraise.ts';
import { computeCompanionsDigest } from './composite/companions.ts';
import { MAX_DEVICES } from './composite/device-set.ts';
import type { DeviceSet } from './composite/device-set.ts';
import type { AnyDeviceClass, DeviceClaims, DeviceInputs } from './device-class.ts';
import { anyShape, listShape, literalShape, objectShape, textShape } from './json-shape.ts';
import { defineRefusals } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import type { Trusted } from './trusted.ts';
import { judge } from './verdict.ts';
import type { Check, Refused, Verdict } from './verdict.ts';

export const evidenceRefusals = defineRefusals('unacceptable', {
  'evidence-class-unknown': {
    means: 'A bundle has evidence of a device class that this verifier does not know.',
    hint: 'Update the verifier, or leave the device out.',
  },
  'evidence-class-unconfigured': {
    means: 'The operator has not said what to accept of this device class.',
    hint: 'Configure anchors, reference values and policy for the class; nothing is accepted without.',
  },
});

/** EV-1: the logs of one machine in base64, and room for the evidence of many devices. */
export const MAX_EVIDENCE_BYTES = 4 * 1024 * 1024;

/** Evidence of one device, as it is sent. */
export interface DeviceEvidence {
  readonly class: string;
  readonly evidence: JsonValue;
}

const bundleShape = objectShape({
  version: literalShape(1),
  devices: listShape(
    { minItems: 1, maxItems: MAX_DEVICES },
    objectShape({ class: textShape({ pattern: /^[a-z0-9-]{1,11}$/ }), evidence: anyShape }),
  ),
});

/** Writes a bundle. @throws RefusalError `json-malformed` */
export function encodeEvidence(devices: readonly DeviceEvidence[]): Uint8Array<ArrayBuffer> {
  const members = devices.map(({ class: name, evidence }) => ({ class: name, evidence }));
  return encodeCanonicalJson({ version: 1, devices: members });
}

/** A device as its evidence claims it. Nothing of it is verified. */
export interface ClaimedDevice {
  readonly deviceClass: AnyDeviceClass;
  readonly evidence: object;
  /** SHA-256 of the canonical bytes of its member `evidence`, as sent; 32 bytes. */
  readonly evidenceDigest: Uint8Array;
  /** 32 bytes in hex: the key under which its enrolment is looked up. */
  readonly identity: string;
}

/**
 * Reads a bundle.
 *
 * @param registry the device classes that the verifier knows, by name
 * @throws RefusalError `json-*`, `shape-*`, `evidence-*`, and what the classes throw on malformed evidence
 */
export function parseEvidence(
  bytes: Uint8Array,
  registry: ReadonlyMap<string, AnyDeviceClass>,
): readonly ClaimedDevice[] {
  const json = decodeCanonicalJson(bytes, { maxBytes: MAX_EVIDENCE_BYTES }, 'evidence');
  return parseEvidenceValue(json, registry);
}

/** Reads a bundle that stands as a member in another canonical document. @throws as {@link parseEvidence} */
export function parseEvidenceValue(
  json: JsonValue,
  registry: ReadonlyMap<string, AnyDeviceClass>,
): readonly ClaimedDevice[] {
  return bundleShape(json, 'evidence').devices.map(({ class: name, evidence }, i) => {
    const field = `evidence.devices[${i}]`;
    const deviceClass = registry.get(name);
    if (deviceClass === undefined) {
      throw evidenceRefusals.error('evidence-class-unknown', {
        field: `${field}.class`,
        expected: [...registry.keys()].join(', '),
        found: name,
      });
    }
    const parsed = deviceClass.parse(evidence, `${field}.evidence`);
    const identity = toHex(deviceClass.identify(parsed));
    return { deviceClass, evidence: parsed, evidenceDigest: digestOfEvidence(evidence), identity };
  });
}

/** How other devices name a member of the bundle: SHA-256 of its canonical bytes, 32 bytes (CM-2). */
export function digestOfEvidence(evidence: JsonValue): Uint8Array {
  return sha256(encodeCanonicalJson(evidence));
}

/** Key of a device in {@link EvidenceInputs.enrolments}: `class/identity`. */
export function deviceKey(className: string, identity: string): string {
  return `${className}/${identity}`;
}

/** What the operator accepts of one device class. */
export type ClassInputs = Pick<
  DeviceInputs,
  'anchors' | 'collateral' | 'referenceValues' | 'policy' | 'memory'
>;

/** Everything that the verdict on a bundle depends on, besides the bundle (W10). */
export interface EvidenceInputs {
  /** From `computeBinding`, 32 bytes. */
  readonly binding: Uint8Array;
  readonly lab: string;
  /** POSIX seconds. */
  readonly time: number;
  readonly classes: ReadonlyMap<string, ClassInputs>;
  /** Enrolment records of the claimed devices, by {@link deviceKey}. */
  readonly enrolments: ReadonlyMap<string, JsonValue>;
  /** Alternatives: the machine must be exactly one of them. With none nothing is accepted. */
  readonly deviceSets: readonly DeviceSet[];
}

export interface AcceptedEvidence {
  readonly outcome: 'accepted';
  /** In the order of the bundle. */
  readonly devices: readonly Trusted<DeviceClaims>[];
  /** Whether any device is simulated (W9). */
  readonly simulated: boolean;
  readonly checks: readonly Check[];
}

/**
 * Verifies a machine: that the devices are those of a declared set, then each of them, then all together. A bundle of
 * other devices is refused before anything of it is verified; one refused device refuses the bundle, and the refusals
 * of all devices are reported.
 */
export async function verifyEvidence(
  devices: readonly ClaimedDevice[],
  inputs: EvidenceInputs,
): Promise<AcceptedEvidence | Refused> {
  const composition = await judge((checks) => {
    appraiseComposition(devices, inputs.deviceSets, checks);
    return {};
  });
  if (composition.outcome === 'refused') return composition;
  const verdicts = await Promise.all(devices.map((device) => verifyDevice(device, devices, inputs)));
  const checks = [...composition.checks, ...verdicts.flatMap((verdict) => verdict.checks)];
  const refused = verdicts.filter((verdict) => verdict.outcome === 'refused');
  const [first] = refused;
  if (first !== undefined) {
    const [firstRefusal, ...rest] = refused.flatMap(({ refusals }): readonly Refusal[] => refusals);
    return { ...first, refusals: [firstRefusal ?? first.refusals[0], ...rest], checks };
  }
  const accepted = verdicts.flatMap((verdict) => (verdict.outcome === 'accepted' ? [verdict.claims] : []));
  return await judgeMachine(devices, accepted, inputs, checks);
}

async function judgeMachine(
  devices: readonly ClaimedDevice[],
  claims: readonly Trusted<DeviceClaims>[],
  { deviceSets }: EvidenceInputs,
  checksBefore: readonly Check[],
): Promise<AcceptedEvidence | Refused> {
  const machine = await judge((checks) => {
    const accepted = devices.flatMap(({ deviceClass }, i) => {
      const own = claims[i];
      return own === undefined ? [] : [{ deviceClass, claims: own }];
    });
    appraiseSet(accepted, deviceSets, checks);
    return { simulated: claims.some(({ simulated }) => simulated) };
  });
  const checks = [...checksBefore, ...machine.checks];
  if (machine.outcome === 'refused') return { ...machine, checks };
  return { outcome: 'accepted', devices: claims, simulated: machine.claims.simulated, checks };
}

async function verifyDevice(
  device: ClaimedDevice,
  devices: readonly ClaimedDevice[],
  inputs: EvidenceInputs,
): Promise<Verdict<DeviceClaims>> {
  const { deviceClass, evidence, identity } = device;
  const classInputs = inputs.classes.get(deviceClass.name);
  if (classInputs === undefined) {
    const refusal = evidenceRefusals.refusal('evidence-class-unconfigured', {
      field: 'evidence.devices',
      expected: [...inputs.classes.keys()].join(', ') || 'a configured class',
      found: deviceClass.name,
    });
    return { outcome: 'refused', family: 'unacceptable', refusals: [refusal], checks: [] };
  }
  return deviceClass.verify(evidence, {
    ...classInputs,
    expectedDeviceValue: computeDeviceValue(deviceClass.name, inputs.binding, deviceClass.identify(evidence)),
    companionsDigest: companionsDigestFor(device, devices),
    lab: inputs.lab,
    time: inputs.time,
    enrolment: inputs.enrolments.get(deviceKey(deviceClass.name, identity)),
  });
}

/** What a device that signs for the others has to name: all of them, and not itself. */
function companionsDigestFor(device: ClaimedDevice, devices: readonly ClaimedDevice[]): Uint8Array {
  const others = devices.filter((other) => other !== device);
  return computeCompanionsDigest(
    others.map(({ deviceClass, identity, evidenceDigest }) => ({
      deviceClass: deviceClass.name,
      identity: fromHex(identity, 'identity'),
      evidenceDigest,
    })),
  );
}
