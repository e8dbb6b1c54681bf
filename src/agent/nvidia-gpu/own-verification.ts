/**
 * The agent's own verification of its GPUs and switches (docs/spec/nvidia-gpu-agent.md, NA-17): the verifier that a
 * server uses, over a nonce of the agent's own. It is what makes the ready state mean something.
 */

import { randomBytes } from 'node:crypto';

import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import type { DeviceClass, DeviceClaims } from '../../../attestation/core/device-class.ts';
import { RefusalError } from '../../../attestation/core/refusal.ts';
import { judge, type Verdict } from '../../../attestation/core/verdict.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../../attestation/nvidia-gpu/device-class.ts';
import type { DeviceEvidence } from '../../../attestation/nvidia-gpu/evidence.ts';
import { NONCE_BYTES } from '../../../native/nvml/gpu.ts';
import type { NvidiaAttester, NvidiaClass } from './attester.ts';
import { gpuEvidenceRefusals } from './refusals.ts';

/** What devices of one class are judged by. */
export interface JudgedBy {
  readonly policy: JsonValue;
  readonly referenceValues: readonly JsonValue[];
}

/** What the agent judges its own devices by; all of it comes from its operator. */
export interface OwnVerification {
  readonly anchors: readonly TrustAnchor[];
  /** Devices of a class that is not here are refused. */
  readonly judgedBy: Readonly<Partial<Record<NvidiaClass, JudgedBy>>>;
  /** Manifests, and answers about certificates, for what devices claim to be, by their names as collateral. */
  readonly collateral: (devices: readonly DeviceEvidence[]) => Promise<ReadonlyMap<string, Uint8Array>>;
  /** POSIX seconds. */
  readonly time: () => number;
}

const CLASSES: Readonly<Record<NvidiaClass, DeviceClass<DeviceEvidence, DeviceClaims>>> = {
  'nvidia-gpu': nvidiaGpuDeviceClass,
  nvswitch: nvswitchDeviceClass,
};

interface CollectedDevice {
  readonly attester: NvidiaAttester;
  readonly nonce: Uint8Array;
  readonly evidence: DeviceEvidence;
}

/**
 * Verifies all devices, each for itself and then as a set.
 *
 * @throws RefusalError the first reason why one is refused, and those of the devices
 */
export async function verifyOwnDevices(
  attesters: readonly NvidiaAttester[],
  verification: OwnVerification,
): Promise<readonly DeviceClaims[]> {
  const collected: CollectedDevice[] = [];
  for (const attester of attesters) {
    const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
    const evidence = await attester.collect(undefined, nonce);
    collected.push({
      attester,
      nonce,
      evidence: CLASSES[attester.deviceClass].parse(evidence, attester.name),
    });
  }
  const collateral = await verification.collateral(collected.map((device) => device.evidence));
  const claims: DeviceClaims[] = [];
  for (const device of collected) claims.push(await verifyDevice(device, verification, collateral));
  await appraiseTogether(attesters, claims);
  return claims;
}

async function verifyDevice(
  { attester, nonce, evidence }: CollectedDevice,
  { anchors, judgedBy, time }: OwnVerification,
  collateral: ReadonlyMap<string, Uint8Array>,
): Promise<DeviceClaims> {
  const { name, deviceClass: className } = attester;
  const documents = judgedBy[className];
  if (documents === undefined) {
    const facts = { field: name, expected: `a policy for ${className}`, found: 'none' };
    throw gpuEvidenceRefusals.error('nvml-not-judged', facts);
  }
  const verdict = await CLASSES[className].verify(evidence, {
    expectedDeviceValue: nonce,
    companionsDigest: NO_COMPANIONS,
    lab: '',
    time: time(),
    anchors,
    collateral,
    enrolment: undefined,
    ...documents,
  });
  return claimsOf(verdict, name);
}

async function appraiseTogether(
  attesters: readonly NvidiaAttester[],
  claims: readonly DeviceClaims[],
): Promise<void> {
  const verdict = await judge((checks) => {
    const present = new Set(attesters.map(({ deviceClass }) => deviceClass));
    for (const name of present) CLASSES[name].appraiseSet?.(claims, checks);
    return { devices: claims.length };
  });
  claimsOf(verdict, 'machine');
}

/** @throws RefusalError the first of the verdict's refusals, with the device before its field */
function claimsOf<Claims extends object>(verdict: Verdict<Claims>, name: string): Claims {
  if (verdict.outcome === 'accepted') return verdict.claims;
  const [refusal] = verdict.refusals;
  throw new RefusalError(verdict.family, { ...refusal, field: `${name} ${refusal.field}` });
}
