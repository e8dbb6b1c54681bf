/**
 * The opaque data of a report: what the firmware of the device says about itself beside the measurements. There are two
 * layouts of the same entries. The magic alone decides which one it is, and what does not read by it is refused: a
 * reader that fell back on the other layout could be shown other values than the next reader.
 */

import { equalBytes, toUtf8 } from '../core/bytes.ts';
import {
  constantBytes,
  decode,
  encode,
  itemsToEnd,
  littleEndian,
  reserved,
  sizedBytes,
  structure,
} from '../core/layout.ts';
import type { ValueOf } from '../core/layout.ts';
import { defineRefusals } from '../core/refusal.ts';

const { u8, u16 } = littleEndian;

export const opaqueRefusals = defineRefusals('malformed', {
  'gpu-opaque-version': {
    means: 'The opaque data of a report is of a version that this release does not know.',
    hint: 'A newer release may know it.',
  },
  'gpu-opaque-repeated': {
    means: 'The opaque data of a report has an entry twice.',
    hint: 'No driver writes such a report: two readers could take two different values from it.',
  },
  'gpu-opaque-type': {
    means:
      'The opaque data of a report has an entry of a type that this kind of device is not known to send.',
    hint: 'A newer release may know it; nothing that is signed is left unread.',
  },
  'gpu-opaque-value': {
    means: 'An entry in the opaque data of a report does not hold what its type says.',
    hint: 'The report was altered, or its driver is of a kind that this release does not know.',
  },
  'gpu-opaque-required': {
    means: 'The opaque data of a report lacks an entry that every device of this kind sends.',
    hint: 'Collect the report through NVML or NSCQ from a device in a confidential mode.',
  },
});

const packedEntry = structure({ type: u16(), value: sizedBytes(u16()) });
const packedEntries = itemsToEnd(packedEntry);

const MAGIC = toUtf8('NVDAOD');

const typedEntry = structure({ type: u16(), valueType: u16(), value: sizedBytes(u16()) });
const typedData = structure({
  magic: constantBytes(MAGIC),
  profile: u16(),
  major: u8(),
  minor: u8(),
  patch: u8(),
  padding: reserved(1),
  entries: itemsToEnd(typedEntry),
});

/** The only profile, and the only major version that a published sample has. */
const PROFILE = 0;
const TYPED_MAJOR = 2;

export type PackedEntry = ValueOf<typeof packedEntry>;
export type TypedEntry = ValueOf<typeof typedEntry>;

/** Entries without a header, as all drivers wrote them at first. */
export interface PackedData {
  readonly format: 'packed';
  readonly entries: readonly PackedEntry[];
}

/** Entries behind the header NVDAOD, each with the type of its value: drivers of CUDA 13.5 and later. */
export interface TypedData {
  readonly format: 'typed';
  readonly version: { readonly major: number; readonly minor: number; readonly patch: number };
  readonly entries: readonly TypedEntry[];
}

export type OpaqueData = PackedData | TypedData;

/** @throws RefusalError `gpu-opaque-version`, `gpu-opaque-repeated`, `layout-*` */
export function readOpaqueData(bytes: Uint8Array, path: string): OpaqueData {
  const isTyped = equalBytes(bytes.subarray(0, MAGIC.length), MAGIC);
  const data = isTyped ? readTyped(bytes, path) : readPacked(bytes, path);
  const types = data.entries.map(({ type }) => type);
  const repeated = types.find((type, i) => types.indexOf(type) !== i);
  if (repeated === undefined) return data;
  throw opaqueRefusals.error('gpu-opaque-repeated', {
    field: path,
    expected: 'each type once',
    found: `type ${repeated} twice`,
  });
}

/** Writes the bytes that {@link readOpaqueData} reads. @throws RefusalError `layout-value` */
export function writeOpaqueData(data: OpaqueData): Uint8Array {
  if (data.format === 'packed') return encode(packedEntries, data.entries, 'opaqueData');
  const { version, entries } = data;
  return encode(typedData, { magic: MAGIC, profile: PROFILE, ...version, entries }, 'opaqueData');
}

function readPacked(bytes: Uint8Array, path: string): PackedData {
  return { format: 'packed', entries: decode(packedEntries, bytes, path) };
}

function readTyped(bytes: Uint8Array, path: string): TypedData {
  const { profile, major, minor, patch, entries } = decode(typedData, bytes, path);
  if (profile !== PROFILE || major !== TYPED_MAJOR) {
    throw opaqueRefusals.error('gpu-opaque-version', {
      field: path,
      expected: `profile ${PROFILE}, version ${TYPED_MAJOR}`,
      found: `profile ${profile}, version ${major}.${minor}.${patch}`,
    });
  }
  return { format: 'typed', version: { major, minor, patch }, entries };
}
