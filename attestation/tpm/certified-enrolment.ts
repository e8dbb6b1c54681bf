/**
 * Enrolment of a further attestation key by certification (docs/spec/tpm-identity.md, section 3): the enrolled key of a
 * TPM certifies another key of the same TPM, which then has the same endorsement key, lab and authority.
 */

import { toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import type { DeviceInputs } from '../core/device-class.ts';
import { judge } from '../core/verdict.ts';
import type { Verdict } from '../core/verdict.ts';
import { attestationKeyIdentity, checkAttestationKey } from './attestation-key.ts';
import { authenticateCertification, demandCertifiedObject, demandPlace } from './certify.ts';
import type { PresentedCertification } from './certify.ts';
import { writeEnrolmentRecord } from './documents.ts';
import { decodePublicArea } from './layout.ts';
import { demandAnchor, demandRecord, qualifiedSigners } from './verify.ts';

/** A further key of an enrolled TPM, as it was certified. */
export interface CertifiedKeyClaims {
  /** Name of the key, hex. */
  readonly attestationKeyName: string;
  /** SHA-256 of the Name, hex: identity of the machine's TPM in evidence of this key. */
  readonly identity: string;
  /** Name of the key that certified it, hex. */
  readonly certifyingKeyName: string;
  /** SHA-256 of the endorsement key's SubjectPublicKeyInfo, hex. */
  readonly endorsementKeyDigest: string;
  /** SHA-256 of the endorsement certificate, hex. */
  readonly endorsementCertificateDigest: string;
  readonly simulated: boolean;
  /** The enrolment record of the key, with the clock up to which its TPM is known. */
  readonly record: JsonValue;
}

export interface CertifiedKeyInputs extends Pick<DeviceInputs, 'enrolment' | 'lab' | 'anchors'> {
  /** What the statement has to be bound to, 32 bytes: see certification-binding.ts. */
  readonly extraData: Uint8Array;
}

/** What a machine presents: the keys as TPMT_PUBLIC, and the statement of the one about the other. */
export interface CertifiedKeyEvidence extends PresentedCertification {
  readonly certifyingKey: Uint8Array;
  readonly attestationKey: Uint8Array;
}

/**
 * Judges a certification. The rules for attestation keys apply to both keys; `inputs.enrolment` is the record of the
 * certifying one.
 */
export function verifyCertifiedKey(
  evidence: CertifiedKeyEvidence,
  inputs: CertifiedKeyInputs,
): Promise<Verdict<CertifiedKeyClaims>> {
  return judge(async (checks) => {
    const certifier = checkAttestationKey(decodePublicArea(evidence.certifyingKey, 'certifyingKey'), checks);
    const record = demandRecord(certifier.name, inputs, checks);
    const anchor = demandAnchor(record, inputs.anchors, checks);
    const expected = {
      key: certifier,
      qualifiedSigners: qualifiedSigners(certifier.name, record.ekName),
      extraData: inputs.extraData,
    };
    const statement = await authenticateCertification(evidence, expected, checks);
    const area = decodePublicArea(evidence.attestationKey, 'attestationKey');
    const name = demandCertifiedObject(statement, area, checks);
    // Attributes after the Name that covers them: of an area that nobody certified they mean nothing.
    checkAttestationKey(area, checks);
    demandPlace(statement, qualifiedSigners(name, record.ekName), checks);
    return {
      attestationKeyName: toHex(name),
      identity: toHex(attestationKeyIdentity(area)),
      certifyingKeyName: toHex(certifier.name),
      endorsementKeyDigest: toHex(record.ekPublicDigest),
      endorsementCertificateDigest: toHex(record.ekCertificateDigest),
      simulated: anchor.simulated,
      record: writeEnrolmentRecord({ ...record, akName: name }),
    };
  });
}
