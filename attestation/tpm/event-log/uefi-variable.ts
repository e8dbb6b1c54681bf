/**
 * UEFI variables as boot events carry them, and the lists of keys and hashes inside (UEFI Specification, sections 32.4.1
 * and 32.8.2). All integers are little-endian.
 */

import {
  decode,
  dependent,
  encode,
  fixedBytes,
  littleEndian,
  remainingBytes,
  structure,
} from '../../core/layout.ts';
import type { Layout } from '../../core/layout.ts';
import { concatBytes, fromHex, toHex } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';

export const variableRefusals = defineRefusals('malformed', {
  'event-log-variable': {
    means: 'A boot event has not the form of a UEFI variable, or a list of keys in it is malformed.',
    hint: 'The log was altered, or the firmware is faulty; ask its maker.',
  },
});

const { u32, u64 } = littleEndian;

/** A name has at most this many UTF-16 units. */
const MAX_NAME_UNITS = 1024n;
const MAX_DATA_BYTES = 1024n * 1024n;

function bytesBy(member: 'nameUnits' | 'dataBytes', unitBytes: number): Layout<Uint8Array> {
  return dependent((members) => fixedBytes(Number(members[member]) * unitBytes));
}

/** UEFI_VARIABLE_DATA. */
const variableData = structure({
  vendor: fixedBytes(16),
  nameUnits: u64({ max: MAX_NAME_UNITS }),
  dataBytes: u64({ max: MAX_DATA_BYTES }),
  name: bytesBy('nameUnits', 2),
  data: bytesBy('dataBytes', 1),
});

export interface UefiVariable {
  /** Canonical text of the vendor's GUID. */
  readonly vendor: string;
  readonly name: string;
  readonly data: Uint8Array;
}

/** @throws RefusalError `event-log-variable`, `layout-*` */
export function readUefiVariable(bytes: Uint8Array, path: string): UefiVariable {
  const { vendor, name, data } = decode(variableData, bytes, path);
  return { vendor: guidText(vendor), name: utf16Text(name, path), data };
}

/** Writes what {@link readUefiVariable} reads, as firmware measures it. */
export function writeUefiVariable({ vendor, name, data }: UefiVariable): Uint8Array {
  const units = utf16Bytes(name);
  const sizes = { nameUnits: BigInt(name.length), dataBytes: BigInt(data.length) };
  return encode(variableData, { vendor: guidBytes(vendor), ...sizes, name: units, data }, 'variable');
}

/** UTF-16, little-endian, without a zero behind it. */
export function utf16Bytes(text: string): Uint8Array {
  return Uint8Array.from(
    { length: 2 * text.length },
    (_, i) => (text.charCodeAt(i >> 1) >> (8 * (i & 1))) & 0xff,
  );
}

function utf16Text(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-16le', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw variableRefusals.error(
      'event-log-variable',
      { field: `${path}.name`, expected: 'UTF-16', found: toHex(bytes.subarray(0, 64)) },
      { cause },
    );
  }
}

/** The first three parts of a GUID are little-endian integers (UEFI Specification, appendix A). */
export function guidText(bytes: Uint8Array): string {
  const parts = [
    bytes.slice(0, 4).reverse(),
    bytes.slice(4, 6).reverse(),
    bytes.slice(6, 8).reverse(),
    bytes.slice(8, 10),
    bytes.slice(10, 16),
  ];
  return parts.map(toHex).join('-');
}

/** The bytes of a GUID in its canonical text. */
export function guidBytes(text: string): Uint8Array {
  const parts = text.split('-').map((part) => fromHex(part, 'GUID'));
  return concatBytes(...parts.map((part, i) => (i < 3 ? part.toReversed() : part)));
}

/** EFI_SIGNATURE_DATA with the type of the list that it stands in. */
export interface UefiSignature {
  readonly type: string;
  readonly owner: string;
  /** A certificate in DER, or a hash, by `type`. */
  readonly data: Uint8Array;
}

/** GUIDs of EFI_CERT_*: what a list of signatures holds. */
export const UefiSignatureType = {
  x509: 'a5c059a1-94e4-4aa7-87b5-ab155c2bf072',
  sha256: 'c1c41626-504c-4092-aca9-41f936934328',
  x509Sha256: '3bd2a492-96c0-4079-b420-fcf98ef103ed',
  x509Sha384: '7076876e-80c2-4ee6-aad2-28b349a6865b',
  x509Sha512: '446dbf63-2502-4cda-bcfa-2465d2b0fe9d',
} as const;

const OWNER_BYTES = 16;
const LIST_HEADER_BYTES = 28;

/** EFI_SIGNATURE_LIST: a type, three sizes, a header that depends on the type, and signatures of one size. */
const signatureList = structure({
  type: fixedBytes(16),
  listBytes: u32(),
  headerBytes: u32(),
  signatureBytes: u32(),
  header: dependent(({ headerBytes }) => fixedBytes(Number(headerBytes))),
  signatures: dependent(({ listBytes, headerBytes }) =>
    fixedBytes(Number(listBytes) - Number(headerBytes) - LIST_HEADER_BYTES),
  ),
  next: remainingBytes(),
});

/**
 * What PK, KEK, db and dbx hold: several lists one after another. An empty variable has none.
 *
 * @throws RefusalError `event-log-variable`, `layout-*`
 */
export function readSignatureLists(data: Uint8Array, path: string): readonly UefiSignature[] {
  const found: UefiSignature[] = [];
  let rest = data;
  while (rest.length > 0) {
    demandSizes(rest, path);
    const { type, signatureBytes, signatures, next } = decode(signatureList, rest, path);
    for (let at = 0; at < signatures.length; at += signatureBytes) {
      const one = signatures.subarray(at, at + signatureBytes);
      found.push({
        type: guidText(type),
        owner: guidText(one.subarray(0, OWNER_BYTES)),
        data: one.subarray(OWNER_BYTES),
      });
    }
    rest = next;
  }
  return found;
}

const sizes = structure({
  type: fixedBytes(16),
  listBytes: u32(),
  headerBytes: u32(),
  signatureBytes: u32(),
  rest: remainingBytes(),
});

/** The three sizes of a list have to agree before anything is read by them. */
function demandSizes(bytes: Uint8Array, path: string): void {
  const { listBytes, headerBytes, signatureBytes } = decode(sizes, bytes, path);
  const all = listBytes - headerBytes - LIST_HEADER_BYTES;
  if (all >= 0 && signatureBytes > OWNER_BYTES && all % signatureBytes === 0) return;
  throw variableRefusals.error('event-log-variable', {
    field: path,
    expected: 'a list whose sizes agree',
    found: `${listBytes} bytes, ${headerBytes} of them header, signatures of ${signatureBytes}`,
  });
}
