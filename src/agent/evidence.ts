/** Collects what a challenge asks for. Which devices this machine has is for the caller to say. */

import { z } from 'zod';

import { computeDeviceValue } from '../../attestation/core/binding.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const evidenceRefusals = defineRefusals('environment', {
  'evidence-device-missing': {
    means:
      'The server asks for evidence of devices that this machine does not have, or that were not chosen.',
    hint: 'Name the devices of one of the sets with --device, or run on a machine that has them.',
  },
});

const tpmRequestSchema = z.strictObject({
  class: z.literal('tpm'),
  bank: z.enum(['sha256', 'sha384']),
  pcrs: z.array(z.int().min(0).max(23)).min(1).max(24),
});

/** What a challenge asks of one device (RP-13). */
export const deviceRequestSchema = z.discriminatedUnion('class', [
  tpmRequestSchema,
  z.strictObject({ class: z.literal('sev-snp') }),
]);

export type DeviceRequest = z.infer<typeof deviceRequestSchema>;
export type TpmRequest = z.infer<typeof tpmRequestSchema>;

/** A device of this machine that can sign for what it is. */
export interface DeviceAttester {
  /** As in the evidence bundle, for example `tpm`. */
  readonly deviceClass: string;
  /** 32 bytes that name the device in its device value (RP-17). */
  readonly identity: Uint8Array;
  /** The device's part of the bundle, for the device value it was given. */
  collect(request: DeviceRequest, deviceValue: Uint8Array): Promise<JsonValue>;
}

/** What a challenge asks for: what of each device, and which of them together (RP-13). */
export interface EvidenceRequest {
  readonly devices: readonly DeviceRequest[];
  readonly deviceSets: readonly (readonly string[])[];
}

interface Attestation {
  readonly request: DeviceRequest;
  readonly attester: DeviceAttester;
}

/**
 * The evidence bundle for one binding, of the first set of devices that this machine has.
 *
 * @throws RefusalError `evidence-device-missing`, and those of the devices
 */
export async function collectEvidence(
  asked: EvidenceRequest,
  attesters: readonly DeviceAttester[],
  binding: Uint8Array,
): Promise<JsonValue> {
  const devices: JsonValue[] = [];
  for (const { request, attester } of chooseDevices(asked, attesters)) {
    const deviceValue = computeDeviceValue(request.class, binding, attester.identity);
    devices.push({ class: request.class, evidence: await attester.collect(request, deviceValue) });
  }
  return { version: 1, devices };
}

function chooseDevices(
  { devices, deviceSets }: EvidenceRequest,
  attesters: readonly DeviceAttester[],
): readonly Attestation[] {
  for (const set of deviceSets) {
    const chosen = set.flatMap((name): readonly Attestation[] => {
      const request = devices.find((device) => device.class === name);
      const attester = attesters.find(({ deviceClass }) => deviceClass === name);
      return request === undefined || attester === undefined ? [] : [{ request, attester }];
    });
    if (chosen.length === set.length) return chosen;
  }
  throw evidenceRefusals.error('evidence-device-missing', {
    field: 'challenge.deviceSets',
    expected: deviceSets.map((set) => set.join(' and ')).join(', or '),
    found: attesters.map(({ deviceClass }) => deviceClass).join(', '),
  });
}
