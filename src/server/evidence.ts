/** The server's use of the verifier: what the operator and the log say goes in, what a decision needs comes out. */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { CertificateMemory } from '../../attestation/core/certificate-memory.ts';
import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import type { AnyDeviceClass, DeviceClaims } from '../../attestation/core/device-class.ts';
import { deviceResult, type DeviceResult } from '../../attestation/core/ear/result.ts';
import {
  deviceKey,
  parseEvidenceValue,
  verifyEvidence,
  type ClaimedDevice,
  type ClassInputs,
} from '../../attestation/core/evidence.ts';
import { isRefusal, type Refusal } from '../../attestation/core/refusal.ts';
import type { Trusted } from '../../attestation/core/trusted.ts';
import { deviceSetsOf } from '../governance/device-sets.ts';
import type { ReleasePolicy } from '../governance/predicates.ts';
import type { ReferenceQuestion } from '../governance/reference-values.ts';
import {
  accreditationAt,
  namesDevice,
  referenceValuesFor,
  type GovernanceState,
} from '../governance/state.ts';
import type { EvidenceSummary } from '../policy/facts.ts';
import { gatherCollateral, type CollateralSources } from './collateral.ts';
import { VERIFIED_CLASSES } from './device-classes.ts';
import { isTpmClaims, readMachineRecord, startOf, withQuote } from './machine-record.ts';
import type { KnownMachine, MachineRecord, ServerStorage } from './storage.ts';

/** What the operator configured for the verifier. */
export interface VerifierSetup extends CollateralSources {
  /** The device classes that this server knows, by name. */
  readonly registry: ReadonlyMap<string, AnyDeviceClass>;
  /** Authorities of each class, by its name. */
  readonly anchors: ReadonlyMap<string, readonly TrustAnchor[]>;
  /** Certificates between endorsement certificates of TPMs and their authorities, DER. */
  readonly makerCertificates: readonly Uint8Array[];
  /** The same authorities certify many machines, and each machine asks again and again. */
  readonly memory: CertificateMemory;
}

/** What one request says about itself. */
export interface EvidenceQuestion {
  /** The bundle, from the network. */
  readonly evidence: JsonValue;
  /** RP-17, 32 bytes. */
  readonly binding: Uint8Array;
  readonly lab: string;
  /** POSIX seconds. */
  readonly time: number;
}

export interface JudgedEvidence {
  readonly summary: EvidenceSummary;
  /** The proven devices in one text: who may renew a lease (RP-30). Empty when the evidence was refused. */
  readonly machine: string;
  /** What an attestation result says of each proven device (AR-4). Empty when the evidence was refused. */
  readonly results: readonly DeviceResult[];
  /** The counters of its TPM in one text (LC-16). Empty when it has none, or the evidence was refused. */
  readonly start: string;
  /** The records of the proven devices, brought up to date. */
  readonly machines: readonly MachineRecord[];
  /** The records of the claimed devices as they were judged by. */
  readonly basis: readonly KnownMachine[];
  /** What the verification used besides the evidence and what the log says, by name (RP-35). */
  readonly collateral: ReadonlyMap<string, Uint8Array>;
}

/**
 * Verifies a bundle against one state of governance. Throws nothing that the bundle can cause.
 *
 * @param state gives reference values, enrolments and what the release policy asks of a device
 */
export async function judgeEvidence(
  setup: VerifierSetup,
  state: GovernanceState,
  storage: ServerStorage,
  question: EvidenceQuestion,
): Promise<JudgedEvidence> {
  try {
    const claimed = parseEvidenceValue(question.evidence, setup.registry);
    const { binding, lab, time } = question;
    const records = recordsOf(claimed, state, storage);
    const enrolments = new Map([
      ...[...records].map(([key, { record }]) => [key, readMachineRecord(record)] as const),
      ...accreditedDevices(claimed, state, lab, time),
    ]);
    const policy = state.releasePolicy?.policy;
    const deviceSets = policy === undefined ? [] : deviceSetsOf(policy);
    const { collateral, failures } = await gatherCollateral(setup, claimed, deviceSets, {
      isKnown: ({ deviceClass: { name }, identity }) =>
        enrolments.has(deviceKey(name, identity)) || !demands(policy, name, 'enrolment'),
      isJudgedRemotely: ({ deviceClass: { name } }) => demands(policy, name, 'remoteResult'),
    });
    const counting = { at: time, machine: speakerOf(claimed) };
    const classes = classInputs(setup, state, collateral, counting);
    const verdict = await verifyEvidence(claimed, { binding, lab, time, classes, enrolments, deviceSets });
    // What could not be fetched is why something is missing: whoever is refused for that should read it.
    if (verdict.outcome === 'refused') {
      const basis = [...records.values()];
      return { ...refused([...verdict.refusals, ...failures], collateral), basis };
    }
    return {
      summary: { outcome: 'accepted', devices: verdict.devices.map(loggedClaims) },
      machine: machineOf(verdict.devices),
      start: startOf(verdict.devices),
      basis: [...records.values()],
      results: resultsOf(claimed, verdict.devices),
      machines: machinesSeen(verdict.devices, records, time),
      collateral,
    };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return refused([error.refusal]);
  }
}

/** Whether the policy of a class requires what it leaves to choose. Every class that has the choice calls it so. */
function demands(
  policy: ReleasePolicy | undefined,
  className: string,
  choice: 'enrolment' | 'remoteResult',
): boolean {
  const document = policy && VERIFIED_CLASSES.get(className)?.appraisalPolicy(policy);
  const members: object = typeof document === 'object' && document !== null ? document : {};
  return Object.entries(members).some(([name, value]) => name === choice && value === 'required');
}

/** What becomes of a request whose evidence does not hold. */
export function refused(
  refusals: readonly Refusal[],
  collateral: JudgedEvidence['collateral'] = new Map(),
): JudgedEvidence {
  return {
    summary: { outcome: 'refused', refusals },
    machine: '',
    start: '',
    results: [],
    machines: [],
    basis: [],
    collateral,
  };
}

/** A class is configured when the release policy speaks of it; of any other nothing is accepted (W1). */
function classInputs(
  setup: VerifierSetup,
  state: GovernanceState,
  collateral: ReadonlyMap<string, Uint8Array>,
  counting: ReferenceQuestion,
): ReadonlyMap<string, ClassInputs> {
  const configured = new Map<string, ClassInputs>();
  const inForce = state.releasePolicy?.policy;
  if (inForce === undefined) return configured;
  for (const [name, { appraisalPolicy }] of VERIFIED_CLASSES) {
    const policy = appraisalPolicy(inForce);
    if (policy === undefined) continue;
    const anchors = setup.anchors.get(name) ?? [];
    const referenceValues = referenceValuesFor(state, name, counting).map(({ values }) => values);
    configured.set(name, { anchors, collateral, referenceValues, policy, memory: setup.memory });
  }
  return configured;
}

/** The device by which a machine has its place in a roll-out (GV-65): the one that binds the others, or its only one. */
function speakerOf(claimed: readonly ClaimedDevice[]): string {
  const speaker = claimed.find(({ deviceClass }) => deviceClass.bindsCompanions) ?? claimed[0];
  return speaker === undefined ? '' : deviceKey(speaker.deviceClass.name, speaker.identity);
}

/** Devices that need no enrolment: the accreditation of the lab names them, which is as good (GV-49). */
function accreditedDevices(
  claimed: readonly ClaimedDevice[],
  state: GovernanceState,
  lab: string,
  time: number,
): readonly (readonly [string, JsonValue])[] {
  const accreditation = accreditationAt(state, lab, time);
  return claimed
    .filter(({ deviceClass, identity }) => namesDevice(accreditation, deviceClass.name, identity))
    .map(({ deviceClass: { name }, identity }) => [
      deviceKey(name, identity),
      { version: 1, class: name, lab, identity },
    ]);
}

/** The records of the claimed devices, by device. Only a machine whose enrolment stands in the log has one. */
function recordsOf(
  claimed: readonly ClaimedDevice[],
  state: GovernanceState,
  storage: ServerStorage,
): ReadonlyMap<string, KnownMachine> {
  const records = new Map<string, KnownMachine>();
  for (const { deviceClass, identity } of claimed) {
    const machine = deviceClass.name === 'tpm' ? storage.findMachine(identity) : undefined;
    if (machine === undefined || !state.enrolments.has(machine.attestationKeyName)) continue;
    records.set(deviceKey(deviceClass.name, identity), machine);
  }
  return records;
}

function machinesSeen(
  devices: readonly Trusted<DeviceClaims>[],
  records: ReadonlyMap<string, MachineRecord>,
  time: number,
): readonly MachineRecord[] {
  return devices.filter(isTpmClaims).flatMap((claims) => {
    const machine = records.get(deviceKey(claims.class, claims.identity));
    return machine === undefined ? [] : [withQuote(machine, claims, time)];
  });
}

/** The claims stand in the order of the bundle. */
function resultsOf(
  claimed: readonly ClaimedDevice[],
  devices: readonly Trusted<DeviceClaims>[],
): readonly DeviceResult[] {
  return claimed.flatMap(({ deviceClass }, i) => {
    const claims = devices[i];
    return claims === undefined ? [] : [deviceResult(deviceClass, claims)];
  });
}

function loggedClaims(claims: DeviceClaims): { class: string; simulated: boolean; claims: JsonValue } {
  return { class: claims.class, simulated: claims.simulated, claims: { ...claims } };
}

function machineOf(devices: readonly DeviceClaims[]): string {
  return devices
    .map((device) => deviceKey(device.class, device.identity))
    .sort()
    .join(' ');
}
