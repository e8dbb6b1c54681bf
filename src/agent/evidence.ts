/** Collects what a challenge asks for. Which devices this machine has is for the caller to say. */

import { z } from 'zod';

import { computeDeviceValue } from '../../attestation/core/binding.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const evidenceRefusals = defineRefusals('environment', {
  'evidence-device-missing': {
    means: 'The server asks for evidence of a device that this machine does not have.',
    hint: 'Run on a machine of a class that the release policy allows, or ask the owner which ones it does.',
  },
});

/** What a challenge asks of one device (RP-13). */
export const deviceRequestSchema = z.strictObject({
  class: z.literal('tpm'),
  bank: z.enum(['sha256', 'sha384']),
  pcrs: z.array(z.int().min(0).max(23)).min(1).max(24),
});

export type DeviceRequest = z.infer<typeof deviceRequestSchema>;

/** A device of this machine that can sign for what it is. */
export interface DeviceAttester {
  /** As in the evidence bundle, for example `tpm`. */
  readonly deviceClass: string;
  /** 32 bytes that name the device in its device value (RP-17). */
  readonly identity: Uint8Array;
  /** The device's part of the bundle, for the device value it was given. */
  collect(request: DeviceRequest, deviceValue: Uint8Array): Promise<JsonValue>;
}

/**
 * The evidence bundle for one binding.
 *
 * @throws RefusalError `evidence-device-missing`, and those of the devices
 */
export async function collectEvidence(
  requests: readonly DeviceRequest[],
  attesters: readonly DeviceAttester[],
  binding: Uint8Array,
): Promise<JsonValue> {
  const devices: JsonValue[] = [];
  for (const request of requests) {
    const attester = attesters.find(({ deviceClass }) => deviceClass === request.class);
    if (attester === undefined) {
      throw evidenceRefusals.error('evidence-device-missing', {
        field: 'challenge.devices',
        expected: `one of ${attesters.map(({ deviceClass }) => deviceClass).join(', ')}`,
        found: request.class,
      });
    }
    const deviceValue = computeDeviceValue(request.class, binding, attester.identity);
    devices.push({ class: request.class, evidence: await attester.collect(request, deviceValue) });
  }
  return { version: 1, devices };
}
