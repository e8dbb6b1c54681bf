/** The contract's view of the classes `nvidia-gpu` and `nvswitch`: a simulated NVIDIA signs reports that can be broken. */

import { sign } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes, fromBase64, toBase64 } from '../../../attestation/core/bytes.ts';
import type { AnyDeviceClass } from '../../../attestation/core/device-class.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../../attestation/nvidia-gpu/device-class.ts';
import { signedBytes } from '../../../attestation/nvidia-gpu/spdm.ts';
import {
  makeGpu,
  makeSwitch,
  type SimulatedNvidiaDevice,
} from '../../../src/agent/simulated/nvidia-device.ts';
import { evidenceOf, inputsFor, simulatedNvidia } from '../../support/simulated-gpu.ts';
import type { DeviceFixture, Document, SignedWrong } from './fixture.ts';

export async function makeNvidiaGpuFixture(): Promise<DeviceFixture> {
  const { devices } = await simulatedNvidia();
  // The header of newer drivers has a reserved byte; the older form has none.
  return await fixtureOf(nvidiaGpuDeviceClass, await makeGpu(devices, { withHeader: true }));
}

export async function makeNvswitchFixture(): Promise<DeviceFixture> {
  const { devices } = await simulatedNvidia();
  return await fixtureOf(nvswitchDeviceClass, await makeSwitch(devices));
}

async function fixtureOf(deviceClass: AnyDeviceClass, device: SimulatedNvidiaDevice): Promise<DeviceFixture> {
  const vendor = await simulatedNvidia();
  const nonce = sha256(Uint8Array.of(1));
  const evidence = await evidenceOf(device, nonce);
  const inputs = await inputsFor(vendor, device, nonce);
  const [leaf = new Uint8Array()] = device.chain;
  const { notBefore, notAfter, subjectPublicKeyInfo } = readCertificate(leaf, 'leaf');
  const foreign = sha256(subjectPublicKeyInfo);
  return {
    deviceClass,
    evidence,
    inputs,
    binaryMembers: ['report', 'certificateChain'],
    zeroPaddedMembers: [],
    reserved: reservedPlaces(device, evidence),
    foreignAnchors: vendor.anchors.map((anchor) => ({ ...anchor, publicKeyDigest: foreign })),
    expired: { before: notBefore - 1, after: notAfter + 1 },
    expectedCodes: {
      anchor: ['path-untrusted'],
      'device-value': ['gpu-nonce'],
      'reference-values': ['rim-issue'],
      validity: ['path-validity'],
    },
  };
}

/** Constants and reserved bytes of the SPDM message, by offset; each changed by one bit. */
const RESPONSE = 37;
const CONSTANTS: readonly (readonly [at: number, bit: number])[] = [
  [0, 0], // SPDM version of the request
  [1, 1], // GET_MEASUREMENTS
  [2, 7], // a signature is wanted
  [3, 0], // all blocks
  [36, 2], // slot
  [RESPONSE, 1], // SPDM version of the response
  [RESPONSE + 1, 0], // MEASUREMENTS
  [RESPONSE + 2, 4], // reserved
  [RESPONSE + 3, 7], // reserved
  [RESPONSE + 9, 1], // specification of the first block
  [RESPONSE + 12, 7], // type of its value
];
/** In the header of opaque data: magic, profile, and the reserved byte that ends it. */
const HEADER: readonly (readonly [at: number, bit: number])[] = [
  [0, 0],
  [6, 0],
  [11, 3],
];

function reservedPlaces(device: SimulatedNvidiaDevice, evidence: Document): readonly SignedWrong[] {
  const report = fromBase64(evidence['report'] as string, 'report');
  const { length } = device.template.response.opaqueData;
  const opaqueAt = report.length - SIGNATURE_BYTES - length;
  const header = device.chip === 'LS10' ? [] : HEADER.map(([at, bit]) => [opaqueAt + at, bit] as const);
  return [...CONSTANTS, ...header].map(([at, bit]) => {
    const changed = report.slice();
    changed[at] = (changed[at] ?? 0) ^ (1 << bit);
    return {
      name: `byte ${at} bit ${bit}`,
      evidence: { ...evidence, report: toBase64(signedAgain(changed, device)) },
    };
  });
}

const SIGNATURE_BYTES = 96;

/** Signs bytes that are no report any more, which no writer of reports could write. */
function signedAgain(report: Uint8Array, { key }: SimulatedNvidiaDevice): Uint8Array {
  const message = signedBytes(report);
  return concatBytes(message, sign('sha384', message, { key, dsaEncoding: 'ieee-p1363' }));
}
