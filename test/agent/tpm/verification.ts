/** The server's side of enrolment and verification, for tests that only have a TPM. */

import { randomBytes } from 'node:crypto';

import { computeDeviceValue } from '../../../attestation/core/binding.ts';
import { type JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import type { Trusted } from '../../../attestation/core/trusted.ts';
import type { Verdict } from '../../../attestation/core/verdict.ts';
import type { TpmClaims } from '../../../attestation/tpm/claims.ts';
import {
  type Credential,
  credentialRandomnessBytes,
  makeCredential,
} from '../../../attestation/tpm/credential.ts';
import { tpmDeviceClass } from '../../../attestation/tpm/device-class.ts';
import {
  type EndorsementClaims,
  verifyEndorsementCertificate,
} from '../../../attestation/tpm/endorsement-certificate.ts';
import {
  type AttestationKeyClaims,
  certifiedEndorsementKey,
  enrolmentRecord,
  verifyAttestationKey,
} from '../../../attestation/tpm/enrolment.ts';

const LAB = 'lab-of-the-tests';

/** What a server knows after it looked at an enrolment request. */
export interface CheckedEnrolment {
  readonly anchors: readonly TrustAnchor[];
  readonly endorsement: Trusted<EndorsementClaims>;
  readonly attestationKey: Trusted<AttestationKeyClaims>;
}

/** Checks certificate and attestation key as the server does; throws where it would refuse. */
export async function checkEnrolment(
  certificate: Uint8Array,
  publicArea: Uint8Array,
  certificates: readonly Uint8Array[],
): Promise<CheckedEnrolment> {
  const [root, ...intermediates] = certificates;
  if (root === undefined) throw new Error('no anchor');
  const anchors = [{ name: 'software TPM', certificate: root, simulated: true }];
  const time = Math.floor(Date.now() / 1000);
  const path = { intermediates, anchors, time, validity: 'enforce' } as const;
  return {
    anchors,
    endorsement: claimsOf(await verifyEndorsementCertificate(certificate, path)),
    attestationKey: claimsOf(await verifyAttestationKey(publicArea)),
  };
}

function claimsOf<T extends object>(verdict: Verdict<T>): Trusted<T> {
  if (verdict.outcome === 'accepted') return verdict.claims;
  throw new Error(verdict.refusals.map(({ code, found }) => `${code}: ${found}`).join('; '));
}

/** A credential for this key on this TPM, made without a TPM. */
export function credentialFor(
  { endorsement, attestationKey }: CheckedEnrolment,
  secret: Uint8Array,
): Promise<Credential> {
  const key = certifiedEndorsementKey(endorsement);
  return makeCredential(key, attestationKey.name, secret, randomBytes(credentialRandomnessBytes(key)));
}

/** What the device must have signed for this binding. */
export function deviceValueOf(enrolment: CheckedEnrolment, binding: Uint8Array): Uint8Array {
  return computeDeviceValue('tpm', binding, Buffer.from(enrolment.attestationKey.identity, 'hex'));
}

/** What an agent may have measured of itself, hex. */
export interface ExpectedAgent {
  readonly pcr: number;
  readonly agentPrograms: readonly string[];
  readonly inferencePolicies: readonly string[];
  readonly modelManifests: readonly string[];
}

export interface Expectations {
  readonly deviceValue: Uint8Array;
  readonly pcrs: readonly number[];
  /** Judges what the agent measured, too. */
  readonly agent?: ExpectedAgent;
}

const NOTHING_BOOTED = { images: [], loader: { digests: [], texts: [] }, uki: [], mok: [], files: {} };
const ANY_BOOT = Object.fromEntries(
  ['secureBoot', 'signers', 'revoked', 'images', 'loader', 'uki', 'mok', 'files'].map((rule) => [
    rule,
    'any',
  ]),
);

/** Verifies evidence of an enrolled key. The values in it are taken as the reference. */
export function verifyEvidence(
  enrolment: CheckedEnrolment,
  evidence: JsonValue,
  expectations: Expectations,
): Promise<Verdict<TpmClaims>> {
  const { agent } = expectations;
  const parsed = tpmDeviceClass.parse(evidence, 'evidence');
  const values = [...parsed.pcrs].map(([pcr, value]) => [String(pcr), [Buffer.from(value).toString('hex')]]);
  return tpmDeviceClass.verify(parsed, {
    expectedDeviceValue: expectations.deviceValue,
    companionsDigest: NO_COMPANIONS,
    lab: LAB,
    time: Math.floor(Date.now() / 1000),
    anchors: enrolment.anchors,
    collateral: new Map(),
    enrolment: enrolmentRecord(LAB, enrolment.attestationKey, enrolment.endorsement),
    referenceValues: [
      {
        version: 2,
        class: 'tpm',
        name: 'this machine',
        bank: 'sha256',
        pcrs: Object.fromEntries(values) as JsonValue,
        boot: agent === undefined ? null : { ...NOTHING_BOOTED, agentPrograms: agent.agentPrograms },
        provenance: { source: 'test', recordedAt: 0 },
      },
    ],
    policy: {
      version: 2,
      class: 'tpm',
      bank: 'sha256',
      pcrs: expectations.pcrs,
      registers: 'reference',
      ratchet: 'none',
      boot: agent === undefined ? 'any' : { ...ANY_BOOT, agent: ruleOf(agent) },
      allowUnsafeClock: false,
      deniedFirmware: [],
    },
  });
}

function ruleOf({ pcr, inferencePolicies, modelManifests }: ExpectedAgent): JsonValue {
  return { pcr, inferencePolicies, modelManifests };
}
