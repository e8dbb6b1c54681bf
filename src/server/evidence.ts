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
import { tpmDeviceClass } from '../../attestation/tpm/device-class.ts';
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
import type { GatheredCollateral } from '../platform/collateral/sev-snp-collateral.ts';
import { gatherCollateral, type CollateralSources } from './collateral.ts';
import { VERIFIED_CLASSES } from './device-classes.ts';
import { isTpmClaims, readMachineRecord, startOf, withQuote } from './machine-record.ts';
import type { KnownMachine, MachineRecord, ServerStorage } from './storage.ts';

/** What the verifier judges with: the same for the server and for whoever derives its decisions again. */
export interface Verifier {
  /** The device classes that are known, by name. */
  readonly registry: ReadonlyMap<string, AnyDeviceClass>;
  /** Authorities of each class, by its name. */
  readonly anchors: ReadonlyMap<string, readonly TrustAnchor[]>;
  /** The same authorities certify many machines, and each machine asks again and again. */
  readonly memory: CertificateMemory;
}

/** What the operator configured for the verifier. */
export interface VerifierSetup extends CollateralSources, Verifier {
  /** Certificates between endorsement certificates of TPMs and their authorities, DER. */
  readonly makerCertificates: readonly Uint8Array[];
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

/** What evidence is judged by besides the log: kept with the decision, so that it is judged alike again (RD-1). */
export interface EvidenceBasis {
  /** The records of the claimed devices. */
  readonly machines: readonly KnownMachine[];
  /** What the verification uses besides the evidence and what the log says, by name (RP-35). */
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  /** Why some of it could not be had: whoever is refused for what is missing should read it. */
  readonly failures: readonly Pick<Refusal, 'code' | 'field'>[];
}

/** Looks up what claimed devices are judged by, or tells what was looked up for a decision. */
export type FindBasis = (
  state: GovernanceState,
  claimed: readonly ClaimedDevice[],
) => EvidenceBasis | Promise<EvidenceBasis>;

const NO_BASIS: EvidenceBasis = { machines: [], collateral: new Map(), failures: [] };

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
  readonly basis: EvidenceBasis;
}

/**
 * Verifies a bundle against one state of governance. Throws nothing that the bundle can cause.
 *
 * @param state gives reference values, enrolments and what the release policy asks of a device
 */
export async function judgeEvidence(
  verifier: Verifier,
  state: GovernanceState,
  question: EvidenceQuestion,
  findBasis: FindBasis,
): Promise<JudgedEvidence> {
  let basis = NO_BASIS;
  try {
    const claimed = parseEvidenceValue(question.evidence, verifier.registry);
    basis = await findBasis(state, claimed);
    return await judgeClaimed(verifier, state, question, claimed, basis);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return refused([error.refusal], basis);
  }
}

async function judgeClaimed(
  verifier: Verifier,
  state: GovernanceState,
  { binding, lab, time }: EvidenceQuestion,
  claimed: readonly ClaimedDevice[],
  basis: EvidenceBasis,
): Promise<JudgedEvidence> {
  const records = recordsOf(claimed, state, basis.machines);
  const enrolments = new Map([
    ...[...records].map(([key, { record }]) => [key, readMachineRecord(record)] as const),
    ...accreditedDevices(claimed, state, lab, time),
  ]);
  const policy = state.releasePolicy?.policy;
  const deviceSets = policy === undefined ? [] : deviceSetsOf(policy);
  const counting = { at: time, machine: speakerOf(claimed) };
  const classes = classInputs(verifier, state, basis.collateral, counting);
  const verdict = await verifyEvidence(claimed, { binding, lab, time, classes, enrolments, deviceSets });
  if (verdict.outcome === 'refused') {
    return refused([...verdict.refusals, ...basis.failures.map(failureRefusal)], basis);
  }
  return {
    summary: { outcome: 'accepted', devices: verdict.devices.map(loggedClaims) },
    machine: machineOf(verdict.devices),
    start: startOf(verdict.devices),
    results: resultsOf(claimed, verdict.devices),
    machines: machinesSeen(verdict.devices, records, time),
    basis,
  };
}

/** The server has the whole of it for its answer; what was kept is what is logged. */
function failureRefusal(failure: Pick<Refusal, 'code' | 'field'>): Refusal {
  return { expected: '', found: '', hint: '', ...failure };
}

/**
 * The server's own way to a basis: its records, and collateral from its sources.
 *
 * @param lab @param time of the request
 */
export function lookUpBasis(
  setup: VerifierSetup,
  storage: Pick<ServerStorage, 'findMachine'>,
  { lab, time }: Pick<EvidenceQuestion, 'lab' | 'time'>,
): FindBasis {
  return async (state, claimed) => {
    const known = claimed.filter(({ deviceClass: { name } }) => name === tpmDeviceClass.name);
    const machines = known.flatMap(({ identity }) => storage.findMachine(identity) ?? []);
    const enrolled = new Set([
      ...recordsOf(claimed, state, machines).keys(),
      ...accreditedDevices(claimed, state, lab, time).map(([key]) => key),
    ]);
    return { machines, ...(await gather(setup, state, claimed, enrolled)) };
  };
}

/** @param enrolled keys of the devices that the operator knows */
async function gather(
  setup: VerifierSetup,
  { releasePolicy }: GovernanceState,
  claimed: readonly ClaimedDevice[],
  enrolled: ReadonlySet<string>,
): Promise<GatheredCollateral> {
  const policy = releasePolicy?.policy;
  const deviceSets = policy === undefined ? [] : deviceSetsOf(policy);
  try {
    return await gatherCollateral(setup, claimed, deviceSets, {
      isKnown: ({ deviceClass: { name }, identity }) =>
        enrolled.has(deviceKey(name, identity)) || !demands(policy, name, 'enrolment'),
      isJudgedRemotely: ({ deviceClass: { name } }) => demands(policy, name, 'remoteResult'),
    });
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { collateral: new Map(), failures: [error.refusal] };
  }
}

/** What becomes of a request whose evidence does not hold. */
export function refused(refusals: readonly Refusal[], basis: EvidenceBasis = NO_BASIS): JudgedEvidence {
  return {
    summary: { outcome: 'refused', refusals },
    machine: '',
    start: '',
    results: [],
    machines: [],
    basis,
  };
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

/** A class is configured when the release policy speaks of it; of any other nothing is accepted (W1). */
function classInputs(
  { anchors: authorities, memory }: Verifier,
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
    const anchors = authorities.get(name) ?? [];
    const referenceValues = referenceValuesFor(state, name, counting).map(({ values }) => values);
    configured.set(name, { anchors, collateral, referenceValues, policy, memory });
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
  machines: readonly KnownMachine[],
): ReadonlyMap<string, KnownMachine> {
  const records = new Map<string, KnownMachine>();
  for (const { deviceClass, identity } of claimed) {
    if (deviceClass.name !== tpmDeviceClass.name) continue;
    const machine = machines.find((candidate) => candidate.identity === identity);
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
