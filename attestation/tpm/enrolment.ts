/**
 * Enrolment of a TPM (docs/spec/evidence.md, section 4; release-protocol.md, section 3): from an endorsement
 * certificate and an attestation key's public area to the record that later evidence is checked against.
 */

import { fromHex, toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { judge } from '../core/verdict.ts';
import type { Verdict } from '../core/verdict.ts';
import type { Trusted } from '../core/trusted.ts';
import { attestationKeyIdentity, checkAttestationKey } from './attestation-key.ts';
import type { TpmClaims } from './claims.ts';
import type { EndorsementPublicArea } from './credential.ts';
import type { EndorsementClaims } from './endorsement-certificate.ts';
import { readEnrolmentRecord, writeEnrolmentRecord } from './documents.ts';
import { decodePublicArea } from './layout.ts';
import { computeName } from './name.ts';
import { endorsementPublicArea, usualEndorsementTemplate } from './templates.ts';

/** A key that has all that makes an attestation key. It is bound to no TPM before a credential was activated. */
export interface AttestationKeyClaims {
  /** TPMT_PUBLIC, as received. */
  readonly publicArea: Uint8Array;
  readonly name: Uint8Array;
  /** SHA-256 of the Name, hex: identity of the machine's TPM in evidence. */
  readonly identity: string;
}

/** Checks the public area that a machine wants to enrol. @param publicArea TPMT_PUBLIC, without TPM2B size */
export function verifyAttestationKey(publicArea: Uint8Array): Promise<Verdict<AttestationKeyClaims>> {
  return judge((checks) => {
    const area = decodePublicArea(publicArea, 'akPublic');
    const { name } = checkAttestationKey(area, checks);
    return { publicArea, name, identity: toHex(attestationKeyIdentity(area)) };
  });
}

/** The endorsement key's public area, rebuilt from the certified key: for `makeCredential`. */
export function certifiedEndorsementKey(endorsement: Trusted<EndorsementClaims>): EndorsementPublicArea {
  const { publicKey } = endorsement;
  return endorsementPublicArea(usualEndorsementTemplate(publicKey), publicKey);
}

/**
 * The record of a machine. Make it only after the TPM gave back the credential that was made for exactly this key
 * and this endorsement key.
 */
export function enrolmentRecord(
  lab: string,
  attestationKey: Trusted<AttestationKeyClaims>,
  endorsement: Trusted<EndorsementClaims>,
): JsonValue {
  return writeEnrolmentRecord({
    version: 1,
    class: 'tpm',
    lab,
    akName: attestationKey.name,
    ekName: computeName(certifiedEndorsementKey(endorsement)),
    ekPublicDigest: fromHex(endorsement.publicKeyDigest, 'ekPublicDigest'),
    ekCertificateDigest: fromHex(endorsement.certificateDigest, 'ekCertificateDigest'),
    anchorDigest: fromHex(endorsement.anchorDigest, 'anchorDigest'),
    manufacturer: endorsement.manufacturer,
    model: endorsement.model,
    lastSeen: null,
    frozen: null,
  });
}

/**
 * The record after evidence was accepted: it remembers clock and ratchet, so that an older state of the TPM is recognised.
 * A ratchet that was not asked for is remembered as it was.
 *
 * @param at when the evidence was judged, POSIX seconds
 * @throws RefusalError `shape-*` if it is no enrolment record
 */
export function withLastSeen(document: JsonValue, claims: Trusted<TpmClaims>, at: number): JsonValue {
  const { clock, resetCount, restartCount } = claims;
  const record = readEnrolmentRecord(document);
  const ratchet =
    claims.ratchet === null ? (record.lastSeen?.ratchet ?? null) : fromHex(claims.ratchet, 'ratchet');
  return writeEnrolmentRecord({ ...record, lastSeen: { clock, resetCount, restartCount, at, ratchet } });
}

/** The record of a machine that is frozen from now on. @throws RefusalError `shape-*` if it is no enrolment record */
export function withFrozen(document: JsonValue, code: string): JsonValue {
  return writeEnrolmentRecord({ ...readEnrolmentRecord(document), frozen: code });
}

/**
 * A new record that keeps what was known of the machine: enrolling again must make nobody forget how far its TPM had
 * come, nor that it is frozen.
 *
 * @throws RefusalError `shape-*` if one of the two is no enrolment record
 */
export function withKnownPast(document: JsonValue, known: JsonValue): JsonValue {
  const { lastSeen, frozen } = readEnrolmentRecord(known);
  return writeEnrolmentRecord({ ...readEnrolmentRecord(document), lastSeen, frozen });
}
