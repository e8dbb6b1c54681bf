/**
 * The device classes that this server verifies: for each what the release policy says of it, what a challenge asks of
 * it, and how its documents are checked before they come into force. The rest of the server knows no class by name
 * but the TPM, which alone is enrolled.
 */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { AnchorPurpose } from '../../attestation/core/certificate-path.ts';
import type { AnyDeviceClass } from '../../attestation/core/device-class.ts';
import { NVIDIA_AUTHORITIES } from '../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import * as nvidia from '../../attestation/nvidia-gpu/documents.ts';
import { AMD_ROOTS } from '../../attestation/sev-snp/anchors/amd-roots.ts';
import { sevSnpDeviceClass } from '../../attestation/sev-snp/device-class.ts';
import * as sevSnp from '../../attestation/sev-snp/documents.ts';
import { wantedLogs } from '../../attestation/tpm/boot/policy.ts';
import { TPM_MAKERS } from '../../attestation/tpm/anchors/tpm-roots.ts';
import { tpmDeviceClass } from '../../attestation/tpm/device-class.ts';
import * as tpm from '../../attestation/tpm/documents.ts';
import type { ReleasePolicy } from '../governance/predicates.ts';
import type { RequestedDevice } from './messages.ts';

interface VerifiedClass {
  readonly deviceClass: AnyDeviceClass;
  /** The class's appraisal policy; undefined where the release policy does not speak of the class (W1). */
  readonly appraisalPolicy: (policy: ReleasePolicy) => JsonValue | undefined;
  /** RP-13. */
  readonly request: (policy: ReleasePolicy) => RequestedDevice | undefined;
  /** @throws RefusalError what reading a document of the class throws */
  readonly checkPolicy: (document: JsonValue) => void;
  readonly checkReferenceValues: (document: JsonValue) => void;
  /** What the class has authorities for: one folder of the home for each. */
  readonly anchorPurposes: readonly AnchorPurpose[];
  /** The vendor's authorities, with which a new production server begins; its operator may remove one. */
  readonly vendorRoots: readonly VendorRoot[];
}

/** An authority pinned by its key. */
export interface VendorRoot {
  readonly commonName: string;
  readonly purpose: AnchorPurpose;
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly publicKeyDigest: string;
}

const DEVICES_ONLY: readonly AnchorPurpose[] = ['endorsements'];
/** Devices, manifests and the attestation service have roots of their own, and none stands for another. */
const NVIDIA_PURPOSES: readonly AnchorPurpose[] = ['endorsements', 'reference-values', 'attestation-results'];

/** What a virtual TPM says, whoever runs its host can say: an operator has to want its maker. */
const TPM_ROOTS = TPM_MAKERS.filter(({ kind }) => kind === 'discrete').map(
  ({ commonName, publicKeyDigest }): VendorRoot => ({ commonName, publicKeyDigest, purpose: 'endorsements' }),
);

const CLASSES: readonly VerifiedClass[] = [
  {
    deviceClass: tpmDeviceClass,
    appraisalPolicy: ({ tpm: settings }) => settings && tpmPolicy(settings),
    request: ({ tpm: settings }) =>
      settings && {
        class: 'tpm',
        bank: settings.bank,
        pcrs: inOrder(settings.pcrs),
        ...wantedLogs(tpm.readPolicy(tpmPolicy(settings)).boot),
        ratchet: settings.ratchet !== 'none',
      },
    checkPolicy: tpm.readPolicy,
    checkReferenceValues: tpm.readReferenceValues,
    anchorPurposes: DEVICES_ONLY,
    vendorRoots: TPM_ROOTS,
  },
  {
    deviceClass: sevSnpDeviceClass,
    appraisalPolicy: ({ sevSnp: document }) => document,
    request: ({ sevSnp: document }) => (document === undefined ? undefined : { class: 'sev-snp' }),
    checkPolicy: sevSnp.readPolicy,
    checkReferenceValues: sevSnp.readReferenceValues,
    anchorPurposes: DEVICES_ONLY,
    vendorRoots: AMD_ROOTS.map((root) => ({ ...root, purpose: 'endorsements' })),
  },
  {
    deviceClass: nvidiaGpuDeviceClass,
    appraisalPolicy: ({ nvidiaGpu: document }) => document,
    request: ({ nvidiaGpu: document }) => (document === undefined ? undefined : { class: 'nvidia-gpu' }),
    checkPolicy: nvidia.readGpuPolicy,
    checkReferenceValues: (document) => nvidia.readReferenceValues('nvidia-gpu', document),
    anchorPurposes: NVIDIA_PURPOSES,
    vendorRoots: NVIDIA_AUTHORITIES,
  },
  {
    deviceClass: nvswitchDeviceClass,
    appraisalPolicy: ({ nvswitch: document }) => document,
    request: ({ nvswitch: document }) => (document === undefined ? undefined : { class: 'nvswitch' }),
    checkPolicy: nvidia.readSwitchPolicy,
    checkReferenceValues: (document) => nvidia.readReferenceValues('nvswitch', document),
    anchorPurposes: NVIDIA_PURPOSES,
    vendorRoots: NVIDIA_AUTHORITIES,
  },
];

/** By name. */
export const VERIFIED_CLASSES: ReadonlyMap<string, VerifiedClass> = new Map(
  CLASSES.map((verified) => [verified.deviceClass.name, verified]),
);

/** What the verifier knows the classes by. */
export const DEVICE_CLASSES: ReadonlyMap<string, AnyDeviceClass> = new Map(
  CLASSES.map(({ deviceClass }) => [deviceClass.name, deviceClass]),
);

type TpmSettings = NonNullable<ReleasePolicy['tpm']>;

/** The certificate of the endorsement key is judged when a machine is enrolled, everything else with each quote. */
function tpmPolicy({ endorsementValidity: _, ...settings }: TpmSettings): JsonValue {
  return { version: 2, class: 'tpm', ...settings, pcrs: inOrder(settings.pcrs) };
}

/** The PCRs of a policy in the one order in which they are asked for and verified. */
function inOrder(pcrs: readonly number[]): number[] {
  return [...new Set(pcrs)].sort((left, right) => left - right);
}
