/** A simulated NVIDIA, and what a verifier of its devices is told: all tests of a process share its keys. */

import { sha384 } from '@noble/hashes/sha2.js';

import { toHex } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { NO_COMPANIONS } from '../../attestation/core/composite/companions.ts';
import type { DeviceInputs } from '../../attestation/core/device-class.ts';
import { readPemChain, writeDeviceEvidence } from '../../attestation/nvidia-gpu/evidence.ts';
import { readRim } from '../../attestation/nvidia-gpu/rim/document.ts';
import type { SimulatedNvidiaDevice } from '../../src/agent/simulated/nvidia-device.ts';
import { SimulatedVendor } from '../../src/agent/simulated/nvidia-vendor.ts';

/** When the simulated NVIDIA was made; its answers are good for a day from an hour before. POSIX seconds. */
export const SIMULATED_AT = Math.floor(Date.now() / 1000);

let made: Promise<SimulatedVendor> | undefined;

export function simulatedNvidia(): Promise<SimulatedVendor> {
  made ??= SimulatedVendor.create(SIMULATED_AT);
  return made;
}

type Document = Readonly<Record<string, JsonValue>>;

/** As strict as an operator's who accepts every chip and mode. */
export const GPU_POLICY: Document = {
  version: 1,
  class: 'nvidia-gpu',
  chips: ['GH100', 'GB100', 'GB202'],
  modes: ['spt', 'mpt', 'ppcie'],
  unstatedMode: 'refuse',
  driversWithoutFwid: [],
  minimumVersions: {
    sets: [],
    chips: ['GH100', 'GB100', 'GB202'].map((chip) => ({
      chip,
      driver: '550.90.07',
      vbios: '96.00.00.00.00',
    })),
  },
  manifests: {
    issues: 'listed',
    deniedDigests: [],
    signerNotBefore: 0,
    disabledNvdec: 'compare',
    hold: 'refuse',
    uncovered: [],
  },
  revocation: { maxAgeSeconds: 86_400 },
  remoteResult: 'not-used',
  devices: { allowed: 'any', denied: [] },
  enrolment: 'not-required',
};

const {
  chips: _chips,
  modes: _modes,
  unstatedMode: _unstated,
  driversWithoutFwid: _drivers,
  ...common
} = GPU_POLICY;

export const SWITCH_POLICY: Document = {
  ...common,
  class: 'nvswitch',
  chips: ['LS10'],
  minimumVersions: { sets: [], chips: [{ chip: 'LS10', vbios: '96.10.00.00.00' }] },
};

/** The member of an evidence bundle for a nonce. */
export async function evidenceOf(device: SimulatedNvidiaDevice, nonce: Uint8Array): Promise<Document> {
  const certificates = readPemChain(await device.certificateChain(), 'chain');
  return writeDeviceEvidence(await device.attestationReport(nonce), certificates) as Document;
}

/** Reference values that name the manifests of a device's firmware, as the vendor issues them. */
export function manifestReferences(
  vendor: SimulatedVendor,
  device: SimulatedNvidiaDevice,
): readonly Document[] {
  const deviceClass = device.chip === 'LS10' ? 'nvswitch' : 'nvidia-gpu';
  return [...vendor.manifestsFor(device)].map(([name, bytes]) => ({
    version: 1,
    class: deviceClass,
    kind: 'manifest',
    name,
    manifestId: name.replace(/^rim:/, ''),
    contentDigest: toHex(sha384(readRim(bytes).content)),
    provenance: { source: 'a test', recordedAt: SIMULATED_AT },
  }));
}

/** Inputs with which a verifier accepts a device that answered this nonce. */
export async function inputsFor(
  vendor: SimulatedVendor,
  device: SimulatedNvidiaDevice,
  nonce: Uint8Array,
): Promise<DeviceInputs> {
  return {
    expectedDeviceValue: nonce,
    companionsDigest: NO_COMPANIONS,
    lab: 'lab-one',
    time: SIMULATED_AT,
    anchors: vendor.anchors,
    collateral: await vendor.collateralFor(device),
    enrolment: undefined,
    referenceValues: manifestReferences(vendor, device),
    policy: device.chip === 'LS10' ? SWITCH_POLICY : GPU_POLICY,
  };
}
