/**
 * What an OVMF image tells the hypervisor about an SNP launch: where application processors start, where the hashes
 * of kernel, initrd and command line go, and which pages besides its own it needs (edk2, OvmfPkg/ResetVector:
 * ResetVectorVtf0.asm, OvmfSevMetadata.asm). Facts only, of a file that anybody may have made.
 */

import { toHex, toUtf8 } from '../../core/bytes.ts';
import { constantBytes, counted, decode, littleEndian, structure } from '../../core/layout.ts';
import type { Layout, ValueOf } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { guid } from './guid.ts';
import { readGuidTable } from './guid-table.ts';
import { KERNEL_HASHES_BYTES } from './kernel-hashes.ts';
import { PAGE_BYTES } from './page-info.ts';

const { u32 } = littleEndian;

export const ovmfRefusals = defineRefusals('malformed', {
  'ovmf-size': {
    means: 'A firmware image is not of a size that a hypervisor can load.',
    hint: 'Name the whole OVMF image; a file that was cut or padded measures as something else.',
  },
  'ovmf-entry': {
    means: 'An OVMF image lacks an entry that an SNP launch needs, or has one of another form.',
    hint: 'Take an OVMF that was built for SEV-SNP; older builds and those for other machines have no such entry.',
  },
  'ovmf-sections': {
    means: 'The SEV metadata of an OVMF image name pages that no hypervisor could put into a guest.',
    hint: 'The image was altered or is of a version that this release does not know; take it from its source again.',
  },
});

/** Firmware ends here, whatever its size. */
const FIRMWARE_END = 0x1_0000_0000;
/** More than any hypervisor here maps for firmware. */
export const MAX_IMAGE_BYTES = 16 * 1024 * 1024;
/** Bounds the work: the sections of all known images together are below 1 MiB. */
const MAX_SECTION_BYTES = 16 * 1024 * 1024;
const MAX_SECTIONS = 64;

const RESET_BLOCK = toHex(guid('00f771de-1a7e-4fcb-890e-68c77e2fb44e'));
const HASH_TABLE = toHex(guid('7255371f-3a3b-4b04-927b-1da6efa8d454'));
const SEV_METADATA = toHex(guid('dc886566-984a-4798-a75e-5585a7bf67cc'));

/** OVMF_SECTION_TYPE. `svsmCaa` is the calling area of a secure VM service module. */
export const SectionType = {
  secMemory: 1,
  secrets: 2,
  cpuid: 3,
  svsmCaa: 4,
  kernelHashes: 0x10,
} as const;
export type SectionTypeValue = (typeof SectionType)[keyof typeof SectionType];

/** Sections that are one page, and of which a guest has one at most. */
const SINGLE_PAGES: readonly number[] = [SectionType.secrets, SectionType.cpuid, SectionType.kernelHashes];

const resetBlock = structure({ address: u32() });
const hashTable = structure({ address: u32(), size: u32() });
const metadataPointer = structure({ bytesFromEnd: u32() });

const METADATA_HEAD_BYTES = 16;
const metadataHead = {
  signature: constantBytes(toUtf8('ASEV')),
  size: u32(),
  version: u32({ oneOf: [1] }),
};
const metadataStart = structure({ ...metadataHead, sectionCount: u32({ max: MAX_SECTIONS }) });
const section = structure({
  address: u32(),
  size: u32(),
  type: u32({ oneOf: Object.values(SectionType) }) as Layout<SectionTypeValue>,
});
const metadata = structure({ ...metadataHead, sections: counted(u32({ max: MAX_SECTIONS }), section) });

/** Pages that the firmware asks for, in the order in which they are measured. `size` counts bytes. */
export type Section = ValueOf<typeof section>;

/** What an SNP launch needs to know of an image. Addresses are guest-physical. */
export interface OvmfImage {
  readonly bytes: Uint8Array;
  readonly address: number;
  /** Where application processors start. */
  readonly resetAddress: number;
  readonly sections: readonly Section[];
  /** Where the table of hashes stands; null when this firmware measures no kernel. */
  readonly kernelHashesAddress: number | null;
}

function readEntry<T>(
  entries: ReadonlyMap<string, Uint8Array>,
  name: string,
  layout: Layout<T>,
  path: string,
): T {
  const data = entries.get(name);
  if (data !== undefined) return decode(layout, data, path);
  throw ovmfRefusals.error('ovmf-entry', { field: path, expected: `an entry ${name}`, found: 'none' });
}

/** @throws RefusalError `ovmf-*`, `layout-*` */
export function readOvmf(bytes: Uint8Array, path = 'ovmf'): OvmfImage {
  if (bytes.length === 0 || bytes.length % PAGE_BYTES !== 0 || bytes.length > MAX_IMAGE_BYTES) {
    throw ovmfRefusals.error('ovmf-size', {
      field: path,
      expected: `whole pages of ${PAGE_BYTES} bytes, ${MAX_IMAGE_BYTES} bytes at most`,
      found: `${bytes.length} bytes`,
    });
  }
  const entries = readGuidTable(bytes, `${path}.table`);
  const address = FIRMWARE_END - bytes.length;
  const sections = readSections(bytes, entries, `${path}.metadata`);
  checkSections(sections, address, `${path}.metadata.sections`);
  return {
    bytes,
    address,
    resetAddress: readEntry(entries, RESET_BLOCK, resetBlock, `${path}.resetBlock`).address,
    sections,
    kernelHashesAddress: readHashTableAddress(entries, sections, `${path}.hashTable`),
  };
}

function readSections(
  bytes: Uint8Array,
  entries: ReadonlyMap<string, Uint8Array>,
  path: string,
): readonly Section[] {
  const { bytesFromEnd } = readEntry(entries, SEV_METADATA, metadataPointer, `${path}.pointer`);
  if (bytesFromEnd > bytes.length || bytesFromEnd < METADATA_HEAD_BYTES) {
    throw ovmfRefusals.error('ovmf-entry', {
      field: `${path}.pointer`,
      expected: `${METADATA_HEAD_BYTES} to ${bytes.length} bytes from the end`,
      found: `${bytesFromEnd} bytes from the end`,
    });
  }
  const rest = bytes.subarray(bytes.length - bytesFromEnd);
  const { size } = decode(metadataStart, rest.subarray(0, METADATA_HEAD_BYTES), path);
  if (size > rest.length) {
    throw ovmfRefusals.error('ovmf-entry', {
      field: `${path}.size`,
      expected: `at most ${rest.length} bytes`,
      found: `${size} bytes`,
    });
  }
  return decode(metadata, rest.subarray(0, size), path).sections;
}

function refuseSection(path: string, expected: string, found: string): never {
  throw ovmfRefusals.error('ovmf-sections', { field: path, expected, found });
}

const show = ({ address, size, type }: Section): string =>
  `type ${type}, 0x${size.toString(16)} bytes at 0x${address.toString(16)}`;

function checkSections(sections: readonly Section[], firmwareAddress: number, path: string): void {
  for (const [i, each] of sections.entries()) {
    const isOfPages = each.address % PAGE_BYTES === 0 && each.size % PAGE_BYTES === 0 && each.size > 0;
    if (!isOfPages) refuseSection(`${path}[${i}]`, 'whole pages', show(each));
    if (each.address + each.size > firmwareAddress) {
      refuseSection(`${path}[${i}]`, `an end at most at 0x${firmwareAddress.toString(16)}`, show(each));
    }
    if (!SINGLE_PAGES.includes(each.type)) continue;
    if (each.size !== PAGE_BYTES) refuseSection(`${path}[${i}]`, 'one page', show(each));
    const first = sections.findIndex(({ type }) => type === each.type);
    if (first !== i) refuseSection(`${path}[${i}]`, `one section of type ${each.type}`, 'another of it');
  }
  checkTogether(sections, path);
}

function checkTogether(sections: readonly Section[], path: string): void {
  const total = sections.reduce((sum, { size }) => sum + size, 0);
  if (total > MAX_SECTION_BYTES) {
    refuseSection(path, `at most ${MAX_SECTION_BYTES} bytes together`, `${total} bytes`);
  }
  const ordered = sections.toSorted((left, right) => left.address - right.address);
  for (const [i, each] of ordered.entries()) {
    const next = ordered[i + 1];
    if (next !== undefined && each.address + each.size > next.address) {
      refuseSection(path, 'sections that do not overlap', `${show(each)} and ${show(next)}`);
    }
  }
}

/** The table has to lie in the page of its section, because only that page is measured. */
function readHashTableAddress(
  entries: ReadonlyMap<string, Uint8Array>,
  sections: readonly Section[],
  path: string,
): number | null {
  const page = sections.find(({ type }) => type === SectionType.kernelHashes);
  if (page === undefined) return null;
  const { address, size } = readEntry(entries, HASH_TABLE, hashTable, path);
  const isInside = address >= page.address && address + KERNEL_HASHES_BYTES <= page.address + page.size;
  if (isInside && size >= KERNEL_HASHES_BYTES) return address;
  throw ovmfRefusals.error('ovmf-entry', {
    field: path,
    expected: `${KERNEL_HASHES_BYTES} bytes or more inside the section ${show(page)}`,
    found: `${size} bytes at 0x${address.toString(16)}`,
  });
}
