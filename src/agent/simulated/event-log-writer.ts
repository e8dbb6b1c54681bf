/**
 * Writes boot event logs of SHA-256, by the layouts that the verifier reads them with: for software TPMs, whose firmware is a
 * program of ours.
 */

import { concatBytes, toUtf8 } from '../../../attestation/core/bytes.ts';
import { encode } from '../../../attestation/core/layout.ts';
import { EventType } from '../../../attestation/tpm/event-log/event-types.ts';
import {
  agileRecord,
  legacyRecord,
  SHA1_BYTES,
  specIdEvent,
  SPEC_ID_SIGNATURE,
} from '../../../attestation/tpm/event-log/layout.ts';
import type { AgileRecord, SpecIdEvent } from '../../../attestation/tpm/event-log/layout.ts';
import { tpmHash } from '../../../attestation/tpm/hash.ts';
import { Algorithm } from '../../../attestation/tpm/layout.ts';

const bank = tpmHash(Algorithm.sha256, 'bank');

/** What the first record says of those behind it. */
export const SPEC_ID: SpecIdEvent = {
  signature: SPEC_ID_SIGNATURE,
  platformClass: 0,
  versionMinor: 0,
  versionMajor: 2,
  errata: 0,
  uintnSize: 2,
  algorithms: [{ algorithm: Algorithm.sha256, digestBytes: bank.bytes }],
  vendorInfo: new Uint8Array(0),
};

/** An event of a SHA-256 log; its digest is that of its data unless one is given. */
export interface WrittenEvent {
  readonly pcr: number;
  readonly type: number;
  readonly data: Uint8Array;
  readonly digest?: Uint8Array;
}

/** What an event extends its register with. */
export function digestOfEvent({ data, digest }: WrittenEvent): Uint8Array {
  return digest ?? bank.digest(data);
}

export function writeHeader(
  header: SpecIdEvent = SPEC_ID,
  pcr = 0,
  digest: Uint8Array = new Uint8Array(SHA1_BYTES),
): Uint8Array {
  const data = encode(specIdEvent, header, 'header');
  return encode(legacyRecord, { pcr, type: EventType.noAction, digest, data }, 'header');
}

export function writeRecord(record: AgileRecord, header: SpecIdEvent = SPEC_ID): Uint8Array {
  return encode(agileRecord(header), record, 'record');
}

/** TCG_PCR_EVENT2 records behind a header, as the kernel shows them. */
export function writeEventLog(events: readonly WrittenEvent[]): Uint8Array {
  const records = events.map((event) => {
    const digests = [{ algorithm: Algorithm.sha256, digest: digestOfEvent(event) }];
    return writeRecord({ pcr: event.pcr, type: event.type, digests, data: event.data });
  });
  return concatBytes(writeHeader(), ...records);
}

/** Ends the firmware's part of a register. */
export function separatorEvent(pcr: number, data: Uint8Array = new Uint8Array(4)): WrittenEvent {
  return { pcr, type: EventType.separator, data };
}

/** Vendors of the variables of Secure Boot. */
export const GLOBAL_VENDOR = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
export const IMAGE_VENDOR = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';

function guidBytes(text: string): Uint8Array {
  const hex = text.split('-').map((part) => Uint8Array.from(Buffer.from(part, 'hex')));
  return concatBytes(...hex.map((part, i) => (i < 3 ? part.toReversed() : part)));
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

/** UEFI_VARIABLE_DATA. */
export function variableBytes(vendor: string, name: string, data: Uint8Array): Uint8Array {
  const encodedName = Uint8Array.from(Buffer.from(name, 'utf16le'));
  return concatBytes(guidBytes(vendor), u64(name.length), u64(data.length), encodedName, data);
}

/** A variable of Secure Boot as the firmware measures it. */
export function variableEvent(name: string, data: Uint8Array, vendor = GLOBAL_VENDOR): WrittenEvent {
  return { pcr: 7, type: EventType.efiVariableDriverConfig, data: variableBytes(vendor, name, data) };
}

/** An EFI_SIGNATURE_LIST whose signatures have 16 bytes for the owner and some of data, all of one length. */
export function signatureListBytes(type: string, signatures: readonly Uint8Array[]): Uint8Array {
  const signatureBytes = 16 + (signatures[0]?.length ?? 0);
  const sizes = new Uint8Array(12);
  const view = new DataView(sizes.buffer);
  view.setUint32(0, 28 + signatureBytes * signatures.length, true);
  view.setUint32(8, signatureBytes, true);
  const entries = signatures.map((data) => concatBytes(new Uint8Array(16).fill(0x11), data));
  return concatBytes(guidBytes(type), sizes, ...entries);
}

/** The record of the locality at which the TPM was started. It extends nothing. */
export function startupLocalityEvent(locality: number): WrittenEvent {
  const data = concatBytes(toUtf8('StartupLocality\0'), Uint8Array.of(locality));
  return { pcr: 0, type: EventType.noAction, data, digest: new Uint8Array(bank.bytes) };
}
