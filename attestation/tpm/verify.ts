/** Verification of a TPM's evidence: key, machine, quote, state, in this order (docs/spec/evidence.md). */

import { equalBytes, toHex } from '../core/bytes.ts';
import { anchorDigest } from '../core/certificate-path.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import type { DeviceInputs } from '../core/device-class.ts';
import { defineChecks, judge } from '../core/verdict.ts';
import type { Checklist, Verdict } from '../core/verdict.ts';
import { appraise } from './appraise.ts';
import { attestationKeyIdentity, checkAttestationKey } from './attestation-key.ts';
import { demandLogs, readBoot } from './boot/facts.ts';
import type { BootFacts } from './boot/facts.ts';
import { tpmClaims } from './claims.ts';
import type { TpmClaims } from './claims.ts';
import { readEnrolmentRecord, readPolicy, readReferenceValues } from './documents.ts';
import type { TpmEnrolmentRecord, TpmPolicy } from './documents.ts';
import type { TpmEvidence } from './evidence.ts';
import { computeQualifiedName, Hierarchy, hierarchyName } from './name.ts';
import { authenticateQuote } from './quote.ts';
import { judgeContinuity } from './ratchet/continuity.ts';

export const enrolmentChecks = defineChecks('inauthentic', {
  'tpm-not-enrolled': {
    means: 'The attestation key has no enrolment record.',
    hint: 'Enrol the machine: its attestation key must be activated against its endorsement certificate.',
    protects: 'A key made in software could pass for one in a TPM.',
  },
  'tpm-other-key': {
    means: 'The enrolment record is that of another attestation key.',
    hint: 'Enrol this key, or quote with the one that is enrolled.',
    protects: 'Another machine’s key could answer.',
  },
  'tpm-other-lab': {
    means: 'The machine is enrolled by another lab.',
    hint: 'Each lab enrols its own machines.',
    protects: 'A lab could use the machine of another one.',
  },
  'tpm-anchor-withdrawn': {
    means: 'The authority that vouched for the TPM at enrolment is not accepted any more.',
    hint: 'Enrol the machine again under an authority that is accepted.',
    protects: 'A vendor’s authority could not be withdrawn from machines that are enrolled already.',
  },
});

/** The verdict on one TPM. */
export function verifyTpmEvidence(evidence: TpmEvidence, inputs: DeviceInputs): Promise<Verdict<TpmClaims>> {
  return judge(async (checks) => {
    const policy = readPolicy(inputs.policy);
    const referenceValues = inputs.referenceValues.map(readReferenceValues);
    const key = checkAttestationKey(evidence.akPublic, checks);
    const record = demandRecord(key.name, inputs, checks);
    const anchor = demandAnchor(record, inputs.anchors, checks);
    const expectations = {
      key,
      qualifiedSigners: qualifiedSigners(key.name, record.ekName),
      extraData: inputs.expectedDeviceValue,
      selection: policy.selection,
    };
    const quote = await authenticateQuote(evidence, expectations, checks);
    const ratchet = await judgeContinuity(
      { evidence, expected: expectations, quote },
      policy.ratchet,
      { record, time: inputs.time },
      checks,
    );
    const boot = bootOf(evidence, policy, checks);
    const appraisal = { record, policy, referenceValues, boot };
    return tpmClaims(quote, {
      identity: toHex(attestationKeyIdentity(evidence.akPublic)),
      record,
      anchor,
      bank: policy.selection.bank,
      pcrs: evidence.pcrs,
      reference: appraise(quote, evidence.pcrs, appraisal, checks),
      boot,
      ratchet,
    });
  });
}

/** The logs are read after the quote was authenticated: before, nothing says what they have to lead to. */
function bootOf(evidence: TpmEvidence, { boot, selection }: TpmPolicy, checks: Checklist): BootFacts | null {
  if (boot !== 'any') return readBoot(evidence, boot, { bank: selection.bank, pcrs: evidence.pcrs }, checks);
  demandLogs(evidence, boot, checks);
  return null;
}

/** The enrolment of a key, by the lab that asks. @throws RefusalError `tpm-not-enrolled`, `tpm-other-*`, `shape-*` */
export function demandRecord(
  name: Uint8Array,
  inputs: Pick<DeviceInputs, 'enrolment' | 'lab'>,
  checks: Checklist,
): TpmEnrolmentRecord {
  const { enrolment, lab } = inputs;
  checks.demand(enrolmentChecks, 'tpm-not-enrolled', enrolment !== undefined, {
    field: 'akPublic',
    expected: 'an enrolment record',
    found: enrolment === undefined ? `none for AK Name ${toHex(name)}` : 'one',
  });
  const record = readEnrolmentRecord(enrolment);
  checks.demand(enrolmentChecks, 'tpm-other-key', equalBytes(record.akName, name), {
    field: 'akPublic',
    expected: toHex(record.akName),
    found: toHex(name),
  });
  checks.demand(enrolmentChecks, 'tpm-other-lab', record.lab === lab, {
    field: 'enrolment.lab',
    expected: lab,
    found: record.lab,
  });
  return record;
}

/** The authority of an enrolment, which has to be accepted still. @throws RefusalError `tpm-anchor-withdrawn` */
export function demandAnchor(
  record: TpmEnrolmentRecord,
  anchors: readonly TrustAnchor[],
  checks: Checklist,
): TrustAnchor {
  const anchor = anchors.find((candidate) => equalBytes(anchorDigest(candidate), record.anchorDigest));
  checks.demand(enrolmentChecks, 'tpm-anchor-withdrawn', anchor !== undefined, {
    field: 'enrolment.anchorDigest',
    expected: anchors.map(({ name }) => name).join(', ') || 'an anchor (none is configured)',
    found: toHex(record.anchorDigest),
  });
  return anchor;
}

/** Where an attestation key may stand: in the endorsement hierarchy, or below the enrolled endorsement key. */
export function qualifiedSigners(akName: Uint8Array, ekName: Uint8Array): readonly Uint8Array[] {
  const hierarchy = hierarchyName(Hierarchy.endorsement);
  return [
    computeQualifiedName(hierarchy, akName),
    computeQualifiedName(computeQualifiedName(hierarchy, ekName), akName),
  ];
}
