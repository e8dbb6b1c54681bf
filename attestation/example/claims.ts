/** What is true of an example device after its evidence was accepted. All of it is JSON: claims are logged. */

import { toHex } from '../core/bytes.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import type { DeviceClaims } from '../core/device-class.ts';
import { exampleIdentity } from './evidence.ts';
import type { ExampleEvidence } from './evidence.ts';

export interface ExampleClaims extends DeviceClaims {
  readonly class: 'example';
  /** Name of the authority that vouches for the device. */
  readonly anchor: string;
  readonly firmwareVersion: number;
  /** SHA-256, hex. */
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
