/**
 * Enrolment of a TPM (docs/spec/release-protocol.md section 3), free of HTTP: that an attestation key lives in the
 * TPM whose endorsement key an accepted vendor certified and the owner accredited for the lab.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

import { fromBase64, toBase64, toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { RefusalError } from '../../attestation/core/refusal.ts';
import type { Trusted } from '../../attestation/core/trusted.ts';
import type { Verdict } from '../../attestation/core/verdict.ts';
import {
  credentialRandomnessBytes,
  makeCredential,
  type Credential,
} from '../../attestation/tpm/credential.ts';
import {
  verifyEndorsementCertificate,
  type EndorsementClaims,
  type EndorsementInputs,
} from '../../attestation/tpm/endorsement-certificate.ts';
import {
  certifiedEndorsementKey,
  enrolmentRecord,
  verifyAttestationKey,
  type AttestationKeyClaims,
} from '../../attestation/tpm/enrolment.ts';
import { findMakerChain } from '../../attestation/tpm/maker-chain.ts';
import type { EnrolmentEntry } from '../governance/entries.ts';
import { accreditationAt, namesTpm, type GovernanceState } from '../governance/state.ts';
import { randomHandle } from './challenge.ts';
import type { VerifierSetup } from './evidence.ts';
import type { GovernanceLog } from './governance-log.ts';
import {
  ENROLMENT_REQUEST_TYPE,
  enrolmentRequestSchema,
  MESSAGE_LIMITS,
  type ActivationAnswer,
  type EnrolmentAnswer,
  type EnrolmentRequest,
} from './messages.ts';
import { capacityRefusals, enrolmentRefusals, requestRefusals } from './refusals.ts';
import { readSignedRequest, verifyLabSignature } from './signed-request.ts';
import { identityOfTpm, withOtherKeys, withTpmPast } from './machine-record.ts';
import type { MachineRecord, PendingEnrolment, ServerStorage } from './storage.ts';

/** RP-11. */
const ENROLMENT_SECONDS = 120;
/** RP-10. */
const CREDENTIAL_BYTES = 32;

export interface EnrolmentContext {
  readonly governance: GovernanceLog;
  readonly storage: ServerStorage;
  readonly verifier: VerifierSetup;
  readonly maxOpenEnrolments: number;
}

/**
 * Begins an enrolment: checks both keys and makes a credential that only the TPM of the endorsement key can open,
 * and only for the attestation key.
 *
 * @param body from the network: a DSSE envelope
 * @throws RefusalError `request-signature`, `enrolment-machine`, `server-busy`, `tpm-ek-*`, `tpm-ak-*`, and those of
 *   malformed bodies, certificates and public areas
 */
export async function beginEnrolment(context: EnrolmentContext, body: Uint8Array): Promise<EnrolmentAnswer> {
  const { governance, storage, verifier, maxOpenEnrolments } = context;
  const request = readSignedRequest(
    body,
    ENROLMENT_REQUEST_TYPE,
    enrolmentRequestSchema,
    MESSAGE_LIMITS.enrolment,
  );
  verifyLabSignature(governance.state, request);
  const { lab } = request.message;
  const now = governance.now();
  const endorsement = await verifyEndorsement(request.message, verifier.makerCertificates, {
    anchors: verifier.anchors.get('tpm') ?? [],
    time: now,
    validity: governance.state.releasePolicy?.policy.tpm?.endorsementValidity ?? 'enforce',
  });
  refuseForeignMachine(governance.state, lab, endorsement.publicKeyDigest, now);
  const attestationKey = await verifyRequestedKey(request.message);
  const secret = randomBytes(CREDENTIAL_BYTES);
  const credential = await credentialFor(endorsement, attestationKey, secret);
  const pending: PendingEnrolment = {
    enrolment: randomHandle(),
    credentialDigest: sha256(secret),
    lab,
    attestationKeyName: toHex(attestationKey.name),
    endorsementKeyDigest: endorsement.publicKeyDigest,
    endorsementCertificateDigest: endorsement.certificateDigest,
    simulated: endorsement.simulated,
    anew: request.message.anew,
    record: encodeCanonicalJson(enrolmentRecord(lab, attestationKey, endorsement)),
    expiresAt: now + ENROLMENT_SECONDS,
  };
  secret.fill(0);
  if (!storage.openEnrolment(pending, maxOpenEnrolments, now)) {
    const expected = `at most ${maxOpenEnrolments} open enrolments`;
    throw capacityRefusals.error('server-busy', { field: 'enrolments', expected, found: 'as many' });
  }
  return {
    version: 1,
    enrolment: pending.enrolment,
    credentialBlob: toBase64(credential.credentialBlob),
    encryptedSecret: toBase64(credential.encryptedSecret),
    expiresAt: pending.expiresAt,
  };
}

/**
 * Ends an enrolment. The answer is judged once, right or wrong (RP-11), and a right one is logged before it is
 * confirmed (RP-12).
 *
 * @param answer the credential as the TPM opened it, from the network
 * @throws RefusalError `enrolment-unknown`, `enrolment-answer`, `governance-*`, `server-stopped`, `server-busy`
 */
export async function activateEnrolment(
  { governance, storage }: EnrolmentContext,
  enrolment: string,
  answer: Uint8Array,
): Promise<ActivationAnswer> {
  const pending = storage.takeEnrolment(enrolment);
  if (pending === undefined || governance.now() >= pending.expiresAt) {
    const facts = { field: 'enrolment', expected: 'one that waits for an answer', found: 'none' };
    throw enrolmentRefusals.error('enrolment-unknown', facts);
  }
  // Digests of equal length: nothing about the credential shows in the time that comparing takes.
  if (!timingSafeEqual(sha256(answer), pending.credentialDigest)) {
    const facts = { field: 'credential', expected: 'the credential', found: 'another value' };
    throw requestRefusals.error('enrolment-answer', facts);
  }
  const { entry, proof } = await governance.record((state, at) => {
    if (governance.isShared) claimMachine(state, storage, pending);
    return enrolmentEntry(pending, at);
  });
  // Only after the rules let it stand: a refused enrolment must not touch what is known of the machine.
  for (const machine of withOtherKeys(storage, [enrolledMachine(storage, pending)])) {
    storage.keepMachine(machine);
  }
  return { version: 1, attestationKeyName: pending.attestationKeyName, entry: toBase64(entry), proof };
}

/**
 * What is known of a TPM is known by one server: if another one enrolled it, a copy or an older state of it would pass here (TL-48). A
 * TPM that nobody enrolled is kept at once, so that a server that ends now does not take it for another's.
 *
 * @throws RefusalError `enrolment-elsewhere`
 */
function claimMachine(state: GovernanceState, storage: ServerStorage, pending: PendingEnrolment): void {
  const { endorsementKeyDigest } = pending;
  if (storage.findMachinesOfTpm(endorsementKeyDigest).length > 0) return;
  const enrolments = [...state.enrolments.values()];
  if (!enrolments.some((enrolment) => enrolment.endorsementKeyDigest === endorsementKeyDigest)) {
    storage.keepMachine(enrolledMachine(storage, pending));
    return;
  }
  throw enrolmentRefusals.error('enrolment-elsewhere', {
    field: 'request.endorsementCertificate',
    expected: 'a TPM that no other server of this log enrolled',
    found: `endorsement key ${endorsementKeyDigest}`,
  });
}

function enrolmentEntry(pending: PendingEnrolment, at: number): EnrolmentEntry {
  const { lab, attestationKeyName, endorsementKeyDigest, endorsementCertificateDigest, simulated } = pending;
  return {
    version: 1,
    type: 'enrolment',
    at,
    lab,
    attestationKeyName,
    endorsementKeyDigest,
    endorsementCertificateDigest,
    simulated,
  };
}

/** LC-32: enrolling again must not make the verifier forget what it knows of the TPM, unless the lab asks for that. */
function enrolledMachine(storage: ServerStorage, pending: PendingEnrolment): MachineRecord {
  const { attestationKeyName, endorsementKeyDigest, anew } = pending;
  const record = anew ? pending.record : withTpmPast(storage, pending);
  return { identity: identityOfTpm(attestationKeyName), attestationKeyName, endorsementKeyDigest, record };
}

/** RP-9, EK-11. */
async function verifyEndorsement(
  message: EnrolmentRequest,
  kept: readonly Uint8Array[],
  inputs: Omit<EndorsementInputs, 'intermediates'>,
): Promise<Trusted<EndorsementClaims>> {
  const certificate = fromBase64(message.endorsementCertificate, 'request.endorsementCertificate');
  const sent = message.endorsementChain.map((link, i) => fromBase64(link, `request.endorsementChain[${i}]`));
  const intermediates = sent.length > 0 ? sent : findMakerChain(certificate, kept, inputs.anchors);
  return accepted(await verifyEndorsementCertificate(certificate, { ...inputs, intermediates }));
}

/** @throws RefusalError `enrolment-machine` */
export function refuseForeignMachine(
  state: GovernanceState,
  lab: string,
  endorsementKeyDigest: string,
  now: number,
): void {
  const accreditation = accreditationAt(state, lab, now);
  if (namesTpm(accreditation, endorsementKeyDigest)) return;
  throw enrolmentRefusals.error('enrolment-machine', {
    field: 'request.endorsementCertificate',
    expected: `one of the ${accreditation?.machines.length ?? 0} machines in the accreditation of ${lab}`,
    found: `endorsement key ${endorsementKeyDigest}`,
  });
}

/** RP-10: the rules for attestation keys first; the Name is computed from the public area. */
async function verifyRequestedKey(message: EnrolmentRequest): Promise<Trusted<AttestationKeyClaims>> {
  return accepted(await verifyAttestationKey(fromBase64(message.attestationKey, 'request.attestationKey')));
}

async function credentialFor(
  endorsement: Trusted<EndorsementClaims>,
  attestationKey: Trusted<AttestationKeyClaims>,
  secret: Uint8Array,
): Promise<Credential> {
  const endorsementKey = certifiedEndorsementKey(endorsement);
  const randomness = randomBytes(credentialRandomnessBytes(endorsementKey));
  return await makeCredential(endorsementKey, attestationKey.name, secret, randomness);
}

/** @throws RefusalError the first one of a verdict that refuses */
export function accepted<Claims extends object>(verdict: Verdict<Claims>): Trusted<Claims> {
  if (verdict.outcome === 'accepted') return verdict.claims;
  throw new RefusalError(verdict.family, verdict.refusals[0]);
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
