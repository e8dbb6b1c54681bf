/** What is true of an example device after its evidence was accepted. All of it is JSON: claims are logged. */

import { toHex } from '../core/bytes.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import type { DeviceClaims } from '../core/device-class.ts';
import { TrustValue } from '../core/ear/trust-vector.ts';
import type { TrustVector } from '../core/ear/trust-vector.ts';
import { exampleIdentity } from './layout.ts';
import type { ExampleEvidence } from './layout.ts';

export interface ExampleClaims extends DeviceClaims {
  /** Name of the device class. */
  readonly class: 'example';
  /** Name of the authority that vouches for the device. */
  readonly anchor: string;
  /** As the device counts it; the policy sets the lowest that is accepted. */
  readonly firmwareVersion: number;
  /** SHA-256 of what the device runs, hex. */
  readonly measurement: string;
  /** Name of the reference values that the device matches. */
  readonly referenceValues: string;
}

export function exampleClaims(
  evidence: ExampleEvidence,
  anchor: TrustAnchor,
  referenceValues: string,
): ExampleClaims {
  const { firmwareVersion, measurement } = evidence.statement;
  return {
    class: 'example',
    identity: toHex(exampleIdentity(evidence)),
    simulated: anchor.simulated,
    anchor: anchor.name,
    firmwareVersion,
    measurement: toHex(measurement),
    referenceValues,
  };
}

/** What every accepted device is worth, in the words of AR4SI. Leave out what the evidence says nothing of. */
export const exampleTrustVector: TrustVector = {
  'instance-identity': TrustValue.trustworthyInstance,
  executables: TrustValue.approvedBoot,
  hardware: TrustValue.genuineHardware,
};
