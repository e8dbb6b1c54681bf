/** What the contract test needs of a device class: good evidence, and how to break it. */

import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import type { AnyDeviceClass, DeviceInputs } from '../../../attestation/core/device-class.ts';

export type Document = Readonly<Record<string, JsonValue>>;

/** A case that the class has, or the reason why it cannot have it. */
export type CaseOrReason<T> = T | { readonly notApplicable: string };

/** Evidence in which something is wrong although the device signed it. */
export interface SignedWrong {
  readonly name: string;
  readonly evidence: Document;
}

export interface DeviceFixture {
  readonly deviceClass: AnyDeviceClass;
  /** Evidence that is accepted with `inputs`. */
  readonly evidence: Document;
  readonly inputs: DeviceInputs;
  /** Members of the evidence that hold bytes in base64. */
  readonly binaryMembers: readonly string[];
  /** Binary members after which zeros are no trailing bytes, and why. */
  readonly zeroPaddedMembers: readonly string[];
  /** Evidence with a reserved bit or byte set, each signed by the device itself wherever the place is signed. */
  readonly reserved: readonly SignedWrong[];
  /** Anchors with the names of the accepted ones and other keys. */
  readonly foreignAnchors: readonly TrustAnchor[];
  /** A time before, and one after, the validity of something that vouches for the device. */
  readonly expired: CaseOrReason<{ readonly before: number; readonly after: number }>;
}
