/** Collects what a challenge asks for. Which devices this machine has is for the caller to say. */

import { z } from 'zod';

import { computeDeviceValue } from '../../attestation/core/binding.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { computeCompanionsDigest, type Companion } from '../../attestation/core/composite/companions.ts';
import { digestOfEvidence } from '../../attestation/core/evidence.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const evidenceRefusals = defineRefusals('environment', {
  'evidence-device-missing': {
    means:
      'The devices of this machine, or those that were chosen, are of none of the sets that the server asks for.',
    hint: 'Name the devices of one of the sets with --device, or run on a machine that has exactly these.',
  },
});

const tpmRequestSchema = z.strictObject({
  class: z.literal('tpm'),
  bank: z.enum(['sha256', 'sha384']),
  pcrs: z.array(z.int().min(0).max(23)).min(1).max(24),
  /** Whether the evidence has to carry the boot event log. */
  eventLog: z.boolean(),
  /** Whether it has to carry the list of files that the kernel measured. */
  imaList: z.boolean(),
  /** The register that the agent measures itself into, whose log is wanted; null where it is not. */
  agentPcr: z.int().min(8).max(15).nullable(),
  /** Whether it has to carry the ratchet (docs/spec/lease-clock.md, section 3). */
  ratchet: z.boolean(),
});

/** What a challenge asks of one device (RP-13). */
export const deviceRequestSchema = z.discriminatedUnion('class', [
  tpmRequestSchema,
  z.strictObject({ class: z.literal('sev-snp') }),
  z.strictObject({ class: z.literal('nvidia-gpu') }),
  z.strictObject({ class: z.literal('nvswitch') }),
]);

export type DeviceRequest = z.infer<typeof deviceRequestSchema>;
export type TpmRequest = z.infer<typeof tpmRequestSchema>;

/** What a set of a challenge asks for: so many devices of each class, and no others. */
export const requestedSetSchema = z
  .array(z.strictObject({ class: z.string().min(1).max(32), count: z.int().positive() }))
  .min(1)
  .max(32);

export type RequestedSet = z.infer<typeof requestedSetSchema>;

/** A device of this machine that can sign for what it is. */
export interface DeviceAttester {
  /** As in the evidence bundle, for example `tpm`. */
  readonly deviceClass: string;
  /** Whether what the device signs names the evidence of all others (CM-6); such a device is asked last. */
  readonly bindsCompanions: boolean;
  /** 32 bytes that name the device in its device value (RP-17). */
  readonly identity: Uint8Array;
  /**
   * The device's part of the bundle, for the device value it was given.
   *
   * @param companionsDigest over all other devices of the bundle, 32 bytes; of use only to a device that binds them
   */
  collect(request: DeviceRequest, deviceValue: Uint8Array, companionsDigest: Uint8Array): Promise<JsonValue>;
  /** Called when the server is known to remember what was last collected; of use to a device that moves on from there. */
  settle?(): Promise<void>;
}

/** What a challenge asks for: what of each device, and which of them together (RP-13). */
export interface EvidenceRequest {
  readonly devices: readonly DeviceRequest[];
  readonly deviceSets: readonly RequestedSet[];
}

interface Attestation {
  readonly request: DeviceRequest;
  readonly attester: DeviceAttester;
}

interface CollectedDevice extends Attestation {
  readonly evidence: JsonValue;
}

/**
 * The evidence bundle for one binding, of the first set of devices that this machine is. Devices that sign for others
 * come last, so that the evidence of all others is there to be named.
 *
 * @throws RefusalError `evidence-device-missing`, and those of the devices
 */
export async function collectEvidence(
  asked: EvidenceRequest,
  attesters: readonly DeviceAttester[],
  binding: Uint8Array,
): Promise<JsonValue> {
  const chosen = chooseDevices(asked, attesters);
  const inOrder = [
    ...chosen.filter(({ attester }) => !attester.bindsCompanions),
    ...chosen.filter(({ attester }) => attester.bindsCompanions),
  ];
  const collected: CollectedDevice[] = [];
  for (const { request, attester } of inOrder) {
    const deviceValue = computeDeviceValue(request.class, binding, attester.identity);
    const companionsDigest = computeCompanionsDigest(collected.map(companionOf));
    const evidence = await attester.collect(request, deviceValue, companionsDigest);
    collected.push({ request, attester, evidence });
  }
  return {
    version: 1,
    devices: collected.map(({ request, evidence }) => ({ class: request.class, evidence })),
  };
}

function companionOf({ request, attester, evidence }: CollectedDevice): Companion {
  const { identity } = attester;
  return { deviceClass: request.class, identity, evidenceDigest: digestOfEvidence(evidence) };
}

/** A machine is of a set when it has exactly so many devices of each of its classes. */
function chooseDevices(
  { devices, deviceSets }: EvidenceRequest,
  attesters: readonly DeviceAttester[],
): readonly Attestation[] {
  for (const set of deviceSets) {
    const chosen = set.map((demand) => devicesFor(demand, devices, attesters));
    if (chosen.every((some) => some !== undefined)) return chosen.flat();
  }
  throw evidenceRefusals.error('evidence-device-missing', {
    field: 'challenge.deviceSets',
    expected: deviceSets.map(setText).join(', or '),
    found: attesters.map(({ deviceClass }) => deviceClass).join(', ') || 'none',
  });
}

/** All devices of a class, never a choice of them: one that is left out would still be at work. */
function devicesFor(
  { class: name, count }: RequestedSet[number],
  devices: readonly DeviceRequest[],
  attesters: readonly DeviceAttester[],
): readonly Attestation[] | undefined {
  const request = devices.find((device) => device.class === name);
  const own = attesters.filter(({ deviceClass }) => deviceClass === name);
  if (request === undefined || own.length !== count) return undefined;
  return own.map((attester) => ({ request, attester }));
}

function setText(set: RequestedSet): string {
  return set.map((demand) => `${demand.count} × ${demand.class}`).join(' and ');
}
