/**
 * The verifier's record of an enrolled TPM, as the server keeps it: the last accepted clock moves with every accepted
 * quote, so that a TPM which was set back shows (docs/spec/evidence.md).
 */

import { createHash } from 'node:crypto';

import { fromHex } from '../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import type { DeviceClaims } from '../../attestation/core/device-class.ts';
import type { Trusted } from '../../attestation/core/trusted.ts';
import type { TpmClaims } from '../../attestation/tpm/claims.ts';
import { withLastSeen } from '../../attestation/tpm/enrolment.ts';
import type { MachineRecord } from './storage.ts';

const MAX_RECORD_BYTES = 16 * 1024;

/** A record from our own database. */
export function readMachineRecord(record: Uint8Array): Readonly<Record<string, JsonValue>> {
  const document = decodeCanonicalJson(record, { maxBytes: MAX_RECORD_BYTES }, 'machine');
  return document as Readonly<Record<string, JsonValue>>;
}

/** The new record with the last accepted clock of the one that it replaces. */
export function carryLastSeen(known: Uint8Array, record: Uint8Array): Uint8Array {
  const { lastSeen = null } = readMachineRecord(known);
  return encodeCanonicalJson({ ...readMachineRecord(record), lastSeen });
}

/** The record after a quote of this TPM was accepted. */
export function withQuote(machine: MachineRecord, claims: Trusted<TpmClaims>): MachineRecord {
  return { ...machine, record: encodeCanonicalJson(withLastSeen(readMachineRecord(machine.record), claims)) };
}

/** RP-17: a TPM is named by the SHA-256 of its attestation key's Name. @param attestationKeyName lower-case hex */
export function identityOfTpm(attestationKeyName: string): string {
  return createHash('sha256').update(fromHex(attestationKeyName, 'attestationKeyName')).digest('hex');
}

export function isTpmClaims(claims: Trusted<DeviceClaims>): claims is Trusted<TpmClaims> {
  return claims.class === 'tpm';
}
