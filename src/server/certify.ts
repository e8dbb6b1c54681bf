/**
 * Enrolment of a further attestation key by certification (docs/spec/tpm-identity.md section 3), free of HTTP: an enrolled
 * key of a TPM vouches for another key of the same TPM.
 */

import { randomBytes } from 'node:crypto';

import { fromBase64, toBase64, toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import type { Trusted } from '../../attestation/core/trusted.ts';
import { computeCertificationBinding } from '../../attestation/tpm/certification-binding.ts';
import { verifyCertifiedKey, type CertifiedKeyClaims } from '../../attestation/tpm/certified-enrolment.ts';
import { verifyAttestationKey } from '../../attestation/tpm/enrolment.ts';
import type { EnrolmentEntry } from '../governance/entries.ts';
import { randomHandle } from './challenge.ts';
import { accepted, type EnrolmentContext, refuseForeignMachine } from './enrol.ts';
import { withTpmPast, identityOfTpm, readMachineRecord } from './machine-record.ts';
import {
  CERTIFICATION_REQUEST_TYPE,
  certificationRequestSchema,
  MESSAGE_LIMITS,
  type ActivationAnswer,
  type CertificationAnswer,
  type CertificationStatement,
} from './messages.ts';
import { capacityRefusals, enrolmentRefusals } from './refusals.ts';
import { readSignedRequest, verifyLabSignature } from './signed-request.ts';
import type { MachineRecord, PendingCertification } from './storage.ts';

/** EK-13. */
const CERTIFICATION_SECONDS = 120;
const NONCE_BYTES = 32;

/**
 * Hands out a nonce for one certification.
 *
 * @param body from the network: a DSSE envelope
 * @throws RefusalError `request-signature`, `enrolment-certifier`, `enrolment-machine`, `server-busy`, `tpm-ak-*`, and
 *   those of malformed bodies and public areas
 */
export async function beginCertification(
  context: EnrolmentContext,
  body: Uint8Array,
): Promise<CertificationAnswer> {
  const { governance, storage, maxOpenEnrolments } = context;
  const request = readSignedRequest(
    body,
    CERTIFICATION_REQUEST_TYPE,
    certificationRequestSchema,
    MESSAGE_LIMITS.certification,
  );
  verifyLabSignature(governance.state, request);
  const { lab } = request.message;
  const now = governance.now();
  const keys = {
    certifyingKey: fromBase64(request.message.certifyingKey, 'request.certifyingKey'),
    attestationKey: fromBase64(request.message.attestationKey, 'request.attestationKey'),
  };
  const certifier = accepted(await verifyAttestationKey(keys.certifyingKey));
  accepted(await verifyAttestationKey(keys.attestationKey));
  findCertifier(context, toHex(certifier.name), lab, now);
  const pending: PendingCertification = {
    certification: randomHandle(),
    nonce: randomBytes(NONCE_BYTES),
    lab,
    ...keys,
    expiresAt: now + CERTIFICATION_SECONDS,
  };
  if (!storage.openCertification(pending, maxOpenEnrolments, now)) {
    const expected = `at most ${maxOpenEnrolments} open certifications`;
    throw capacityRefusals.error('server-busy', { field: 'certifications', expected, found: 'as many' });
  }
  return {
    version: 1,
    certification: pending.certification,
    nonce: toBase64(pending.nonce),
    expiresAt: pending.expiresAt,
  };
}

/** The record of the certifying key; its machine has to be one of the lab's still. */
function findCertifier(
  { governance, storage }: EnrolmentContext,
  keyName: string,
  lab: string,
  now: number,
): MachineRecord {
  const enrolment = governance.state.enrolments.get(keyName);
  const machine = storage.findMachine(identityOfTpm(keyName));
  if (enrolment?.lab !== lab || machine === undefined) {
    throw enrolmentRefusals.error('enrolment-certifier', {
      field: 'request.certifyingKey',
      expected: `a key that ${lab} has enrolled`,
      found: keyName,
    });
  }
  refuseForeignMachine(governance.state, lab, enrolment.endorsementKeyDigest, now);
  return machine;
}

/**
 * Ends a certification. The statement is judged once, right or wrong, and a right one is logged before it is confirmed
 * (EK-13, EK-15).
 *
 * @throws RefusalError `enrolment-unknown`, `enrolment-certifier`, `enrolment-machine`, `tpm-certify-*`, `tpm-ak-*`,
 *   `governance-*`, `server-stopped`, `server-busy`
 */
export async function endCertification(
  context: EnrolmentContext,
  certification: string,
  statement: CertificationStatement,
): Promise<ActivationAnswer> {
  const { governance, storage } = context;
  const pending = storage.takeCertification(certification);
  const now = governance.now();
  if (pending === undefined || now >= pending.expiresAt) {
    const facts = { field: 'certification', expected: 'one that waits for a statement', found: 'none' };
    throw enrolmentRefusals.error('enrolment-unknown', facts);
  }
  const claims = await judgeStatement(context, pending, statement, now);
  const { entry, proof } = await governance.record((_state, at) => enrolmentEntry(pending.lab, claims, at));
  storage.keepMachine(withKnownPast(context, claims));
  return { version: 1, attestationKeyName: claims.attestationKeyName, entry: toBase64(entry), proof };
}

async function judgeStatement(
  context: EnrolmentContext,
  pending: PendingCertification,
  statement: CertificationStatement,
  now: number,
): Promise<Trusted<CertifiedKeyClaims>> {
  const { certifyingKey, attestationKey, lab, nonce } = pending;
  const certifier = accepted(await verifyAttestationKey(certifyingKey));
  const certified = accepted(await verifyAttestationKey(attestationKey));
  const machine = findCertifier(context, toHex(certifier.name), lab, now);
  const extraData = computeCertificationBinding({
    nonce,
    lab,
    logOrigin: context.governance.state.origin,
    certifyingKeyName: certifier.name,
    attestationKeyName: certified.name,
  });
  const evidence = {
    certifyingKey,
    attestationKey,
    attest: fromBase64(statement.attest, 'statement.attest'),
    signature: fromBase64(statement.signature, 'statement.signature'),
  };
  const anchors = context.verifier.anchors.get('tpm') ?? [];
  const enrolment = readMachineRecord(machine.record);
  return accepted(await verifyCertifiedKey(evidence, { enrolment, lab, anchors, extraData }));
}

function enrolmentEntry(lab: string, claims: Trusted<CertifiedKeyClaims>, at: number): EnrolmentEntry {
  const { attestationKeyName, endorsementKeyDigest, endorsementCertificateDigest, simulated } = claims;
  return {
    version: 1,
    type: 'enrolment',
    at,
    lab,
    attestationKeyName,
    endorsementKeyDigest,
    endorsementCertificateDigest,
    simulated,
    certifiedBy: claims.certifyingKeyName,
  };
}

/** What is known of a key that was enrolled before stays known. */
function withKnownPast(
  { storage }: EnrolmentContext,
  { identity, attestationKeyName, endorsementKeyDigest, record }: Trusted<CertifiedKeyClaims>,
): MachineRecord {
  const known = { endorsementKeyDigest, record: encodeCanonicalJson(record) };
  return { identity, attestationKeyName, endorsementKeyDigest, record: withTpmPast(storage, known) };
}
