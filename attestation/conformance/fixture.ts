/** What the conformance battery needs of a device class: good evidence, and how to break it. */

import type { JsonValue } from '../core/canonical-json.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import type { AnyDeviceClass, DeviceInputs } from '../core/device-class.ts';

export type Document = Readonly<Record<string, JsonValue>>;

/** A case that the class has, or the reason why it cannot have it. */
export type CaseOrReason<T> = T | { readonly notApplicable: string };

/** Evidence in which something is wrong although the device signed it. */
export interface SignedWrong {
  readonly name: string;
  readonly evidence: Document;
}

/** What a class can be asked to refuse with a code of its own, so that another reason does not hide a missing check. */
export const EXPECTED_CODE_SUBJECTS = [
  'anchor',
  'companions',
  'device-value',
  'reference-values',
  'validity',
] as const;
export type ExpectedCodeSubject = (typeof EXPECTED_CODE_SUBJECTS)[number];

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
  /** Codes of which one must be among the refusals. Where a subject is left out, the family alone is judged. */
  readonly expectedCodes?: Readonly<Partial<Record<ExpectedCodeSubject, readonly string[]>>>;
}
