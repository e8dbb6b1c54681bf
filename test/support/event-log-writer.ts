/** Boot event logs with any content, written by the layouts that read them. */

import { concatBytes, toUtf8 } from '../../attestation/core/bytes.ts';
import { encode } from '../../attestation/core/layout.ts';
import { EventType } from '../../attestation/tpm/event-log/event-types.ts';
import {
  agileRecord,
  legacyRecord,
  specIdEvent,
  SPEC_ID_SIGNATURE,
} from '../../attestation/tpm/event-log/layout.ts';
import type { AgileRecord, SpecIdEvent } from '../../attestation/tpm/event-log/layout.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm } from '../../attestation/tpm/layout.ts';

export const sha256Bank = tpmHash(Algorithm.sha256, 'bank');

export const SPEC_ID: SpecIdEvent = {
  signature: SPEC_ID_SIGNATURE,
  platformClass: 0,
  versionMinor: 0,
  versionMajor: 2,
  errata: 0,
  uintnSize: 2,
  algorithms: [{ algorithm: Algorithm.sha256, digestBytes: 32 }],
  vendorInfo: new Uint8Array(0),
};

/** An event of a SHA-256 log; its digest is that of its data unless one is given. */
export interface WrittenEvent {
  readonly pcr: number;
  readonly type: number;
  readonly data: Uint8Array;
  readonly digest?: Uint8Array;
}

export function writeHeader(
  header: SpecIdEvent = SPEC_ID,
  pcr = 0,
  digest: Uint8Array = new Uint8Array(20),
): Uint8Array {
  const data = encode(specIdEvent, header, 'header');
  return encode(legacyRecord, { pcr, type: EventType.noAction, digest, data }, 'header');
}

export function writeRecord(record: AgileRecord, header: SpecIdEvent = SPEC_ID): Uint8Array {
  return encode(agileRecord(header), record, 'record');
}

export function writeEventLog(events: readonly WrittenEvent[]): Uint8Array {
  const records = events.map(({ pcr, type, data, digest }) => {
    const digests = [{ algorithm: Algorithm.sha256, digest: digest ?? sha256Bank.digest(data) }];
    return writeRecord({ pcr, type, digests, data });
  });
  return concatBytes(writeHeader(), ...records);
}

export const separator = (pcr: number, data: Uint8Array = new Uint8Array(4)): WrittenEvent => ({
  pcr,
  type: EventType.separator,
  data,
});

export function startupLocalityEvent(locality: number): WrittenEvent {
  const data = concatBytes(toUtf8('StartupLocality\0'), Uint8Array.of(locality));
  return { pcr: 0, type: EventType.noAction, data, digest: new Uint8Array(32) };
}

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

export function variableBytes(vendor: string, name: string, data: Uint8Array): Uint8Array {
  const encodedName = Uint8Array.from(Buffer.from(name, 'utf16le'));
  return concatBytes(guidBytes(vendor), u64(name.length), u64(data.length), encodedName, data);
}

export function variableEvent(name: string, data: Uint8Array, vendor = GLOBAL_VENDOR): WrittenEvent {
  return { pcr: 7, type: EventType.efiVariableDriverConfig, data: variableBytes(vendor, name, data) };
}

/** An EFI_SIGNATURE_LIST with signatures of 16 bytes for the owner and some of data. */
export function signatureListBytes(type: string, signatures: readonly Uint8Array[]): Uint8Array {
  const signatureBytes = 16 + (signatures[0]?.length ?? 0);
  const sizes = new Uint8Array(12);
  const view = new DataView(sizes.buffer);
  view.setUint32(0, 28 + signatureBytes * signatures.length, true);
  view.setUint32(8, signatureBytes, true);
  const entries = signatures.map((data) => concatBytes(new Uint8Array(16).fill(0x11), data));
  return concatBytes(guidBytes(type), sizes, ...entries);
}
