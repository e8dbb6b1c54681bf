/** The server's use of the verifier: what the operator and the log say goes in, what a decision needs comes out. */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import type { AnyDeviceClass, DeviceClaims } from '../../attestation/core/device-class.ts';
import {
  deviceKey,
  parseEvidenceValue,
  verifyEvidence,
  type ClaimedDevice,
  type ClassInputs,
} from '../../attestation/core/evidence.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Trusted } from '../../attestation/core/trusted.ts';
import type { ReleasePolicy } from '../governance/predicates.ts';
import { referenceValuesFor, type GovernanceState } from '../governance/state.ts';
import type { EvidenceSummary } from '../policy/facts.ts';
import { isTpmClaims, readMachineRecord, withQuote } from './machine-record.ts';
import type { MachineRecord, ServerStorage } from './storage.ts';

/** What the operator configured for the verifier. */
export interface VerifierSetup {
  /** The device classes that this server knows, by name. */
  readonly registry: ReadonlyMap<string, AnyDeviceClass>;
  /** Authorities of each class, by its name. */
  readonly anchors: ReadonlyMap<string, readonly TrustAnchor[]>;
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
  /** The records of the proven devices, brought up to date. */
  readonly machines: readonly MachineRecord[];
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
    const records = recordsOf(claimed, state, storage);
    const enrolments = new Map([...records].map(([key, { record }]) => [key, readMachineRecord(record)]));
    const classes = classInputs(setup, state);
    const { binding, lab, time } = question;
    const verdict = await verifyEvidence(claimed, { binding, lab, time, classes, enrolments });
    if (verdict.outcome === 'refused') return refused(verdict.refusals);
    return {
      summary: { outcome: 'accepted', devices: verdict.devices.map(loggedClaims) },
      machine: machineOf(verdict.devices),
      machines: machinesSeen(verdict.devices, records),
    };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return refused([error.refusal]);
  }
}

function refused(refusals: Extract<EvidenceSummary, { outcome: 'refused' }>['refusals']): JudgedEvidence {
  return { summary: { outcome: 'refused', refusals }, machine: '', machines: [] };
}

/** A class is configured when the release policy says what to ask of it; without one nothing is accepted (W1). */
function classInputs(setup: VerifierSetup, state: GovernanceState): ReadonlyMap<string, ClassInputs> {
  const policy = state.releasePolicy?.policy;
  if (policy === undefined) return new Map();
  const inputs: ClassInputs = {
    anchors: setup.anchors.get('tpm') ?? [],
    collateral: new Map(),
    referenceValues: referenceValuesFor(state, 'tpm').map(({ values }) => values),
    policy: tpmPolicy(policy.tpm),
  };
  return new Map([['tpm', inputs]]);
}

function tpmPolicy({ bank, pcrs, allowUnsafeClock, deniedFirmware }: ReleasePolicy['tpm']): JsonValue {
  return {
    version: 1,
    class: 'tpm',
    bank,
    pcrs: requestedPcrs(pcrs),
    allowUnsafeClock,
    deniedFirmware,
  };
}

/** The PCRs of a policy in the one order in which they are asked for and verified. */
export function requestedPcrs(pcrs: readonly number[]): number[] {
  return [...new Set(pcrs)].sort((left, right) => left - right);
}

/** The records of the claimed devices, by device. Only a machine whose enrolment stands in the log has one. */
function recordsOf(
  claimed: readonly ClaimedDevice[],
  state: GovernanceState,
  storage: ServerStorage,
): ReadonlyMap<string, MachineRecord> {
  const records = new Map<string, MachineRecord>();
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
): readonly MachineRecord[] {
  return devices.filter(isTpmClaims).flatMap((claims) => {
    const machine = records.get(deviceKey(claims.class, claims.identity));
    return machine === undefined ? [] : [withQuote(machine, claims)];
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
