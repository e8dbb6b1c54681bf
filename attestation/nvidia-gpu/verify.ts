/** Verification of GPUs and switches: authenticity, enrolment, appraisal, in this order (docs/spec/nvidia-gpu.md). */

import { equalBytes, toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { rememberedDocument } from '../core/certificate-memory.ts';
import type { DeviceInputs } from '../core/device-class.ts';
import { defineChecks, judge } from '../core/verdict.ts';
import type { Checklist, Verdict } from '../core/verdict.ts';
import { appraiseDevice } from './appraise.ts';
import type { AppraisalInputs } from './appraise.ts';
import { authenticateReport } from './authenticate.ts';
import type { AuthenticReport } from './authenticate.ts';
import { reportClaims } from './claims.ts';
import type { GpuClaims, SwitchClaims } from './claims.ts';
import { readEnrolmentRecord, readGpuPolicy, readReferenceValues, readSwitchPolicy } from './documents.ts';
import type { DeviceClassName, DevicePolicy, ManifestReference, MinimumVersionSet } from './documents.ts';
import type { DeviceEvidence, GpuEvidence, SwitchEvidence } from './evidence.ts';
import type { DeviceReport } from './report.ts';

export const enrolmentChecks = defineChecks('inauthentic', {
  'gpu-not-enrolled': {
    means: 'The policy demands that devices are enrolled, and this one is not.',
    hint: 'Have the device accredited for the lab by its identity.',
    protects: 'Any device with accepted hardware would count as the lab’s.',
  },
  'gpu-other-device': {
    means: 'The enrolment record is that of another device.',
    hint: 'Enrol this device, or use the one that is enrolled.',
    protects: 'Another device could answer.',
  },
  'gpu-other-lab': {
    means: 'The device belongs to another lab.',
    hint: 'Each lab uses its own devices.',
    protects: 'A lab could use the device of another one.',
  },
});

/** The verdict on one GPU, as evidence of the device class. */
export function verifyGpuEvidence(evidence: GpuEvidence, inputs: DeviceInputs): Promise<Verdict<GpuClaims>> {
  return judge(async (checks) => {
    const documents = readDocuments('nvidia-gpu', inputs);
    const { authentic, appraised } = await verifyDevice(evidence, inputs, documents, checks);
    const claims = reportClaims(authentic);
    const simulated = claims.simulated || appraised.isSimulated;
    return { ...claims, ...appraised.claims, simulated, lab: inputs.lab };
  });
}

/** The verdict on one switch, as evidence of the device class. */
export function verifySwitchEvidence(
  evidence: SwitchEvidence,
  inputs: DeviceInputs,
): Promise<Verdict<SwitchClaims>> {
  return judge(async (checks) => {
    const documents = readDocuments('nvswitch', inputs);
    const { authentic, appraised } = await verifyDevice(evidence, inputs, documents, checks);
    const claims = reportClaims(authentic);
    const simulated = claims.simulated || appraised.isSimulated;
    return { ...claims, ...appraised.claims, simulated, lab: inputs.lab };
  });
}

/** A device of which everything was judged. The claims are worth what the checklist says in the end. */
export interface VerifiedDevice<Report extends DeviceReport> {
  readonly authentic: AuthenticReport<Report>;
  readonly appraised: Awaited<ReturnType<typeof appraiseDevice>>;
}

async function verifyDevice<Report extends DeviceReport>(
  evidence: DeviceEvidence<Report>,
  inputs: DeviceInputs,
  documents: Documents,
  checks: Checklist,
): Promise<VerifiedDevice<Report>> {
  const { policy } = documents;
  const driversWithoutFwid = policy.class === 'nvidia-gpu' ? policy.driversWithoutFwid : [];
  const expectedNonce = inputs.expectedDeviceValue;
  const authentic = await authenticateReport(
    evidence,
    { ...inputs, expectedNonce, driversWithoutFwid },
    checks,
  );
  demandEnrolment(authentic.identity, policy, inputs, checks);
  const { anchors, collateral, time, memory } = inputs;
  const appraisal = { ...documents, anchors, collateral, time, memory };
  return { authentic, appraised: await appraiseDevice(authentic, appraisal, checks) };
}

/** The verifier's own documents, read. */
export type Documents = Pick<AppraisalInputs, 'policy' | 'manifests' | 'minimumSets'>;

const POLICY_READERS: Readonly<Record<DeviceClassName, (value: JsonValue) => DevicePolicy>> = {
  'nvidia-gpu': readGpuPolicy,
  nvswitch: readSwitchPolicy,
};
/** One function for each class, so that a memory knows what it has read with it. */
const REFERENCE_READERS: Readonly<
  Record<DeviceClassName, (value: JsonValue) => ManifestReference | MinimumVersionSet>
> = {
  'nvidia-gpu': (value) => readReferenceValues('nvidia-gpu', value),
  nvswitch: (value) => readReferenceValues('nvswitch', value),
};

/** @throws RefusalError `shape-*`, `hex-malformed`, `gpu-version` */
export function readDocuments(
  deviceClass: DeviceClassName,
  { policy, referenceValues, memory }: Pick<DeviceInputs, 'policy' | 'referenceValues' | 'memory'>,
): Documents {
  const read = REFERENCE_READERS[deviceClass];
  const references = referenceValues.map((value) => rememberedDocument(memory, value, read));
  return {
    policy: rememberedDocument(memory, policy, POLICY_READERS[deviceClass]),
    manifests: references.filter((reference) => reference.kind === 'manifest'),
    minimumSets: references.filter((reference) => reference.kind === 'minimum-versions'),
  };
}

function demandEnrolment(
  identity: Uint8Array,
  policy: DevicePolicy,
  { enrolment, lab }: DeviceInputs,
  checks: Checklist,
): void {
  const isDemanded = policy.enrolment === 'required';
  checks.demand(enrolmentChecks, 'gpu-not-enrolled', enrolment !== undefined || !isDemanded, {
    field: 'enrolment',
    expected: isDemanded ? 'an enrolment record' : 'a record or none',
    found: enrolment === undefined ? `none for ${toHex(identity)}` : 'one',
  });
  if (enrolment === undefined) return;
  const record = readEnrolmentRecord(policy.class, enrolment);
  checks.demand(enrolmentChecks, 'gpu-other-device', equalBytes(record.identity, identity), {
    field: 'enrolment.identity',
    expected: toHex(record.identity),
    found: toHex(identity),
  });
  checks.demand(enrolmentChecks, 'gpu-other-lab', record.lab === lab, {
    field: 'enrolment.lab',
    expected: lab,
    found: record.lab,
  });
}
