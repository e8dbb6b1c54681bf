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
import type { Refusal } from '../../attestation/core/refusal.ts';
import type { Trusted } from '../../attestation/core/trusted.ts';
import type { TpmClaims } from '../../attestation/tpm/claims.ts';
import { withFrozen, withKnownPast, withLastSeen } from '../../attestation/tpm/enrolment.ts';
import type { MachineRecord, ServerStorage } from './storage.ts';

const MAX_RECORD_BYTES = 16 * 1024;

/** A record from our own database. */
export function readMachineRecord(record: Uint8Array): Readonly<Record<string, JsonValue>> {
  const document = decodeCanonicalJson(record, { maxBytes: MAX_RECORD_BYTES }, 'machine');
  return document as Readonly<Record<string, JsonValue>>;
}

/**
 * A new record with what is known of its TPM, whichever of its attestation keys it was learned by: a TPM has as many of
 * them as it likes, and each would begin without a past.
 */
export function withTpmPast(
  storage: ServerStorage,
  { endorsementKeyDigest, record }: Pick<MachineRecord, 'endorsementKeyDigest' | 'record'>,
): Uint8Array {
  const [known] = storage.findMachinesOfTpm(endorsementKeyDigest);
  return known === undefined ? record : carryKnownPast(known.record, record);
}

/** Records that changed, and after them those of the other attestation keys of the same TPMs, with the same past. */
export function withOtherKeys(
  storage: ServerStorage,
  machines: readonly MachineRecord[],
): readonly MachineRecord[] {
  const others = machines.flatMap(({ identity, endorsementKeyDigest, record }) =>
    storage
      .findMachinesOfTpm(endorsementKeyDigest)
      .filter((other) => other.identity !== identity)
      .map((other) => ({ ...other, record: carryKnownPast(record, other.record) })),
  );
  return [...machines, ...others];
}

/** The new record with what was known of the machine in the one that it replaces. */
export function carryKnownPast(known: Uint8Array, record: Uint8Array): Uint8Array {
  return encodeCanonicalJson(withKnownPast(readMachineRecord(record), readMachineRecord(known)));
}

/** The record after a quote of this TPM was accepted. @param at when it was judged, POSIX seconds */
export function withQuote(machine: MachineRecord, claims: Trusted<TpmClaims>, at: number): MachineRecord {
  return changed(machine, withLastSeen(readMachineRecord(machine.record), claims, at));
}

/** What authentic evidence shows only of a TPM that was copied or set back (LC-30). */
const FREEZING_CODES = ['tpm-ratchet-fork', 'tpm-clock-rollback'];

/** The code among refusals of authentic evidence that freezes the machine; undefined as a rule. */
export function freezingCode(refusals: readonly Refusal[]): string | undefined {
  return refusals.find(({ code }) => FREEZING_CODES.includes(code))?.code;
}

/** The record of a machine that is frozen from now on. */
export function withFreeze(machine: MachineRecord, code: string): MachineRecord {
  return changed(machine, withFrozen(readMachineRecord(machine.record), code));
}

function changed(machine: MachineRecord, record: JsonValue): MachineRecord {
  return { ...machine, record: encodeCanonicalJson(record) };
}

/**
 * The start of the machine that a TPM's claims speak of: its counters, in one text. Empty for a machine without a TPM.
 */
export function startOf(devices: readonly Trusted<DeviceClaims>[]): string {
  return devices
    .filter(isTpmClaims)
    .map(({ resetCount, restartCount }) => `${resetCount}/${restartCount}`)
    .join(' ');
}

/** RP-17: a TPM is named by the SHA-256 of its attestation key's Name. @param attestationKeyName lower-case hex */
export function identityOfTpm(attestationKeyName: string): string {
  return createHash('sha256').update(fromHex(attestationKeyName, 'attestationKeyName')).digest('hex');
}

export function isTpmClaims(claims: Trusted<DeviceClaims>): claims is Trusted<TpmClaims> {
  return claims.class === 'tpm';
}
