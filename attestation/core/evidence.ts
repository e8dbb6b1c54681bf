/**
 * The evidence bundle: what all devices of one machine have to say about one challenge (docs/spec/evidence.md,
 * section 1), and its verification as a whole.
 */

import { computeDeviceValue } from './binding.ts';
import { toHex } from './bytes.ts';
import { decodeCanonicalJson, encodeCanonicalJson } from './canonical-json.ts';
import type { JsonValue } from './canonical-json.ts';
import type { AnyDeviceClass, DeviceClaims, DeviceInputs } from './device-class.ts';
import { anyShape, listShape, literalShape, objectShape, textShape } from './json-shape.ts';
import { defineRefusals } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import type { Trusted } from './trusted.ts';
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
  'evidence-device-repeated': {
    means: 'A bundle names the same device twice.',
    hint: 'Send the evidence of each device once.',
  },
});

export const MAX_EVIDENCE_BYTES = 256 * 1024;
export const MAX_DEVICES = 32;

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
  const devices = bundleShape(json, 'evidence').devices.map(({ class: name, evidence }, i) => {
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
    return { deviceClass, evidence: parsed, identity: toHex(deviceClass.identify(parsed)) };
  });
  refuseRepetition(devices);
  return devices;
}

function refuseRepetition(devices: readonly ClaimedDevice[]): void {
  const seen = new Set<string>();
  for (const device of devices) {
    const key = deviceKey(device.deviceClass.name, device.identity);
    if (seen.has(key)) {
      throw evidenceRefusals.error('evidence-device-repeated', {
        field: 'evidence.devices',
        expected: 'each device once',
        found: `${key} twice`,
      });
    }
    seen.add(key);
  }
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
}

export interface AcceptedEvidence {
  readonly outcome: 'accepted';
  readonly devices: readonly Trusted<DeviceClaims>[];
  readonly checks: readonly Check[];
}

/** Verifies every device of a bundle. One refused device refuses the bundle; all refusals are reported. */
export async function verifyEvidence(
  devices: readonly ClaimedDevice[],
  inputs: EvidenceInputs,
): Promise<AcceptedEvidence | Refused> {
  const verdicts = await Promise.all(devices.map((device) => verifyDevice(device, inputs)));
  const checks = verdicts.flatMap((verdict) => verdict.checks);
  const claims = verdicts.flatMap((verdict) => (verdict.outcome === 'accepted' ? [verdict.claims] : []));
  const refused = verdicts.filter((verdict) => verdict.outcome === 'refused');
  const [first] = refused;
  if (first !== undefined) {
    const [firstRefusal, ...rest] = refused.flatMap(({ refusals }): readonly Refusal[] => refusals);
    return { ...first, refusals: [firstRefusal ?? first.refusals[0], ...rest], checks };
  }
  if (claims.length === 0) throw new TypeError('evidence without a device');
  return { outcome: 'accepted', devices: claims, checks };
}

async function verifyDevice(
  { deviceClass, evidence, identity }: ClaimedDevice,
  inputs: EvidenceInputs,
): Promise<Verdict<DeviceClaims>> {
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
    lab: inputs.lab,
    time: inputs.time,
    enrolment: inputs.enrolments.get(deviceKey(deviceClass.name, identity)),
  });
}
