/**
 * What every device class implements: a TPM, a CPU's trusted execution environment, a GPU. A hardware partner adds
 * a class by writing one object of this type; the rest of the project knows none by name.
 */

import type { JsonValue } from './canonical-json.ts';
import type { CertificateMemory } from './certificate-memory.ts';
import type { TrustAnchor } from './certificate-path.ts';
import type { TrustVector } from './ear/trust-vector.ts';
import type { Checklist, Verdict } from './verdict.ts';

/** Everything that the verdict on one device depends on (W10). All of it comes from the verifier's side. */
export interface DeviceInputs {
  /** What the device must have signed, 32 bytes, from `computeDeviceValue`. */
  readonly expectedDeviceValue: Uint8Array;
  /**
   * From `computeCompanionsDigest` over all other devices of the bundle, 32 bytes. A class that binds companions demands
   * it in what the device signed; the others have no place for it.
   */
  readonly companionsDigest: Uint8Array;
  /** The lab that sent the evidence and signed for it. */
  readonly lab: string;
  /** Time of the verification, POSIX seconds. */
  readonly time: number;
  /** Authorities that the operator accepts for this class. */
  readonly anchors: readonly TrustAnchor[];
  /** Endorsements that expire, such as revocation lists, by the name that the class gives them. */
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  /** What was recorded when the device was enrolled; undefined when there is no record. */
  readonly enrolment: JsonValue | undefined;
  /** States that are known to be good; the device must be in one of them. */
  readonly referenceValues: readonly JsonValue[];
  /** The class's own appraisal policy. */
  readonly policy: JsonValue;
  /** The caller's own, kept between verifications: makes them faster and decides nothing. */
  readonly memory?: CertificateMemory | undefined;
}

/** What is true of a device of any class. Classes add members; all must be JSON, because claims are logged. */
export interface DeviceClaims {
  readonly class: string;
  /** 32 bytes in hex that name the device. */
  readonly identity: string;
  /** Whether the hardware is simulated: follows from the anchor that vouches for it, from nothing else (W9). */
  readonly simulated: boolean;
  /**
   * How it is known that the device is in this machine, where nothing that the device signs says it: by the word of the
   * measured software that collected its evidence. Absent for a device that stands for the machine itself.
   */
  readonly attachment?: 'software-asserted';
}

export interface DeviceClass<Evidence extends object, Claims extends DeviceClaims> {
  /** Name in evidence and in device values: lower-case letters, digits and hyphens. */
  readonly name: string;

  /**
   * Whether what a device signs names the evidence of all other devices (docs/spec/composite.md, CM-6). Of several
   * devices exactly one does, and it is asked last.
   */
  readonly bindsCompanions: boolean;

  /** Reads the class's member of an evidence bundle. @throws RefusalError of the family `malformed` */
  parse(value: JsonValue, path: string): Evidence;

  /** The 32 bytes that name the device, as the evidence claims it. @throws RefusalError */
  identify(evidence: Evidence): Uint8Array;

  /** Authenticates and appraises. Throws nothing that outside input can cause. */
  verify(evidence: Evidence, inputs: DeviceInputs): Promise<Verdict<Claims>>;

  /** What the class calls this kind of device, as device sets name it: a chip, a line of processors. */
  modelOf(claims: Claims): string;

  /** What an accepted device is worth, in the words of AR4SI; simulated hardware is judged by the caller (AR-8). */
  trustVectorOf(claims: Claims): TrustVector;

  /**
   * What must hold among the devices of one machine. Called once for each class in a bundle, with the claims of all its
   * devices of whatever class, and only after each of them was accepted. Absent where a device stands alone.
   */
  appraiseSet?(devices: readonly DeviceClaims[], checks: Checklist): void;
}

/** A device class whose own types do not matter to the caller. */
export type AnyDeviceClass = DeviceClass<object, DeviceClaims>;
