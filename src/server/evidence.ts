/** The server's use of the verifier: what the operator and the log say goes in, what a decision needs comes out. */

import { createHash } from 'node:crypto';

import { fromHex } from '../../attestation/core/bytes.ts';
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
import { referenceValuesFor, type GovernanceState } from '../governance/state.ts';
import type { EvidenceSummary } from '../policy/facts.ts';

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
}

/**
 * Verifies a bundle against one state of governance. Throws nothing that the bundle can cause.
 *
 * @param state gives reference values, enrolments and what the release policy asks of a device
 */
export async function judgeEvidence(
  setup: VerifierSetup,
  state: GovernanceState,
  { evidence, binding, lab, time }: EvidenceQuestion,
): Promise<JudgedEvidence> {
  try {
    const claimed = parseEvidenceValue(evidence, setup.registry);
    const classes = classInputs(setup, state);
    const enrolments = enrolmentsOf(claimed, state);
    const verdict = await verifyEvidence(claimed, { binding, lab, time, classes, enrolments });
    if (verdict.outcome === 'refused') return refused(verdict.refusals);
    return {
      summary: { outcome: 'accepted', devices: verdict.devices.map(loggedClaims) },
      machine: machineOf(verdict.devices),
    };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return refused([error.refusal]);
  }
}

function refused(refusals: Extract<EvidenceSummary, { outcome: 'refused' }>['refusals']): JudgedEvidence {
  return { summary: { outcome: 'refused', refusals }, machine: '' };
}

/** A class is configured when the release policy says what to ask of it; without one nothing is accepted (W1). */
function classInputs(setup: VerifierSetup, state: GovernanceState): ReadonlyMap<string, ClassInputs> {
  const policy = state.releasePolicy?.policy;
  if (policy === undefined) return new Map();
  const inputs: ClassInputs = {
    anchors: setup.anchors.get('tpm') ?? [],
    collateral: new Map(),
    referenceValues: referenceValuesFor(state, 'tpm').map(({ values }) => values),
    policy: { bank: policy.tpm.bank, pcrs: policy.tpm.pcrs },
  };
  return new Map([['tpm', inputs]]);
}

function enrolmentsOf(
  claimed: readonly ClaimedDevice[],
  state: GovernanceState,
): ReadonlyMap<string, JsonValue> {
  const wanted = new Set(claimed.map(({ deviceClass, identity }) => deviceKey(deviceClass.name, identity)));
  const found = new Map<string, JsonValue>();
  for (const [attestationKeyName, record] of state.enrolments) {
    const key = deviceKey('tpm', identityOfName(attestationKeyName));
    if (!wanted.has(key)) continue;
    const { lab, endorsementKeyDigest, endorsementCertificateDigest, simulated } = record;
    found.set(key, {
      attestationKeyName,
      lab,
      endorsementKeyDigest,
      endorsementCertificateDigest,
      simulated,
    });
  }
  return found;
}

/** RP-17: a TPM is named by the SHA-256 of its attestation key's Name. */
function identityOfName(attestationKeyName: string): string {
  return createHash('sha256').update(fromHex(attestationKeyName, 'attestationKeyName')).digest('hex');
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
