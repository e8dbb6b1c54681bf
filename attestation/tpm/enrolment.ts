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
  });
}

/**
 * The record after evidence was accepted: it remembers the clock, so that an older state of the TPM is recognised.
 *
 * @throws RefusalError `shape-*` if it is no enrolment record
 */
export function withLastSeen(record: JsonValue, claims: Trusted<TpmClaims>): JsonValue {
  const { clock, resetCount, restartCount } = claims;
  return writeEnrolmentRecord({
    ...readEnrolmentRecord(record),
    lastSeen: { clock, resetCount, restartCount },
  });
}
