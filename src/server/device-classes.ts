/**
 * The device classes that this server verifies: for each what the release policy says of it, what a challenge asks of
 * it, and how its documents are checked before they come into force. The rest of the server knows no class by name
 * but the TPM, which alone is enrolled.
 */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { AnyDeviceClass } from '../../attestation/core/device-class.ts';
import { sevSnpDeviceClass } from '../../attestation/sev-snp/device-class.ts';
import * as sevSnp from '../../attestation/sev-snp/documents.ts';
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
}

const CLASSES: readonly VerifiedClass[] = [
  {
    deviceClass: tpmDeviceClass,
    appraisalPolicy: ({ tpm: settings }) => settings && tpmPolicy(settings),
    request: ({ tpm: settings }) =>
      settings && { class: 'tpm', bank: settings.bank, pcrs: inOrder(settings.pcrs) },
    checkPolicy: tpm.readPolicy,
    checkReferenceValues: tpm.readReferenceValues,
  },
  {
    deviceClass: sevSnpDeviceClass,
    appraisalPolicy: ({ sevSnp: document }) => document,
    request: ({ sevSnp: document }) => (document === undefined ? undefined : { class: 'sev-snp' }),
    checkPolicy: sevSnp.readPolicy,
    checkReferenceValues: sevSnp.readReferenceValues,
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

function tpmPolicy({ bank, pcrs, allowUnsafeClock, deniedFirmware }: TpmSettings): JsonValue {
  return { version: 1, class: 'tpm', bank, pcrs: inOrder(pcrs), allowUnsafeClock, deniedFirmware };
}

/** The PCRs of a policy in the one order in which they are asked for and verified. */
function inOrder(pcrs: readonly number[]): number[] {
  return [...new Set(pcrs)].sort((left, right) => left - right);
}
