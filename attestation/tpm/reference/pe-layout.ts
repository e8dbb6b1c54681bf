/**
 * PE/COFF images as declared layouts (Microsoft "PE Format", sections "MS-DOS Stub" to "Section Table" and "The Attribute
 * Certificate Table"), as far as firmware reads them before it starts an image. All integers are little-endian. Whoever
 * built the image wrote them.
 */

import { toUtf8 } from '../../core/bytes.ts';
import {
  constantBytes,
  counted,
  dependent,
  fixedBytes,
  littleEndian,
  remainingBytes,
  structure,
  variants,
} from '../../core/layout.ts';
import type { ValueOf } from '../../core/layout.ts';

const { u16, u32, u64 } = littleEndian;

export const DOS_HEADER_BYTES = 64;

/** What of the MS-DOS header counts; a Linux kernel keeps boot code in the rest. */
export const dosHeader = structure({
  magic: constantBytes(toUtf8('MZ')),
  others: fixedBytes(DOS_HEADER_BYTES - 6),
  headersOffset: u32(),
});

export const COFF_HEADER_BYTES = 24;
/** The Windows loader takes no more either. */
const MAX_SECTIONS = 96;

/** The signature and the COFF file header behind it. */
export const coffHeader = structure({
  signature: constantBytes(toUtf8('PE\0\0')),
  machine: u16(),
  sectionCount: u16({ max: MAX_SECTIONS }),
  timestamp: u32(),
  symbolTableOffset: u32(),
  symbolCount: u32(),
  optionalHeaderBytes: u16(),
  characteristics: u16(),
});

/** Offsets inside the optional header: the checksum stands at one place in both forms, the directories do not. */
export const CHECKSUM_OFFSET = 64;
export const CHECKSUM_BYTES = 4;
const PE32 = 0x10b;
const PE32_PLUS = 0x20b;
export const DIRECTORIES_OFFSET: Readonly<Record<number, number>> = { [PE32]: 96, [PE32_PLUS]: 112 };
export const DIRECTORY_BYTES = 8;
/** Index of the attribute certificate table among the data directories. */
export const CERTIFICATE_DIRECTORY = 4;
const MAX_DIRECTORIES = 16;

const dataDirectories = counted(u32({ max: MAX_DIRECTORIES }), structure({ address: u32(), bytes: u32() }));

/** Members between the bases and the directories that both forms have at the same offsets. */
const common = {
  sectionAlignment: u32(),
  fileAlignment: u32(),
  versions: fixedBytes(16),
  imageBytes: u32(),
  headerBytes: u32(),
  checksum: u32(),
  subsystem: u16(),
  dllCharacteristics: u16(),
} as const;

const start = {
  linkerVersion: fixedBytes(2),
  sizes: fixedBytes(12),
  entryPoint: u32(),
  codeBase: u32(),
} as const;
const end = { loaderFlags: u32(), directories: dataDirectories } as const;

/** PE32 has four more bytes of base of data, and half the width in addresses and in the sizes of stack and heap. */
export const optionalHeader = variants('magic', u16(), {
  [PE32]: { ...start, dataBase: u32(), imageBase: u32(), ...common, stackAndHeap: fixedBytes(16), ...end },
  [PE32_PLUS]: { ...start, imageBase: u64(), ...common, stackAndHeap: fixedBytes(32), ...end },
});

export const SECTION_HEADER_BYTES = 40;

export const sectionHeader = structure({
  name: fixedBytes(8),
  virtualBytes: u32(),
  virtualAddress: u32(),
  rawBytes: u32(),
  rawOffset: u32(),
  relocationsOffset: u32(),
  lineNumbersOffset: u32(),
  relocationCount: u16(),
  lineNumberCount: u16(),
  characteristics: u32(),
});
export type SectionHeader = ValueOf<typeof sectionHeader>;

export const CERTIFICATE_HEADER_BYTES = 8;
export const CERTIFICATE_ALIGNMENT = 8;
const REVISION_2 = 0x0200;
const PKCS_SIGNED_DATA = 0x0002;

/** WIN_CERTIFICATE: `length` counts the header too, and zeros fill up to the alignment. */
export const certificateEntry = structure({
  length: u32(),
  revision: u16({ oneOf: [REVISION_2] }),
  type: u16({ oneOf: [PKCS_SIGNED_DATA] }),
  signature: dependent(({ length }) => fixedBytes(Math.max(Number(length) - CERTIFICATE_HEADER_BYTES, 0))),
  padding: dependent(({ length }) => fixedBytes(-Number(length) & (CERTIFICATE_ALIGNMENT - 1))),
  next: remainingBytes(),
});
