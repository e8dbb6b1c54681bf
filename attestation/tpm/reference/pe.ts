/**
 * Reading a PE image as strictly as its Authenticode digest needs it (docs/spec/tpm-reference.md, section 1): what firmware
 * hashes follows from headers that overlap nothing and sections that lie one after another. Of an image on which firmware
 * and signing tools could disagree no digest is given.
 */

import { fromUtf8 } from '../../core/bytes.ts';
import { decode } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import {
  CERTIFICATE_ALIGNMENT,
  CERTIFICATE_DIRECTORY,
  CERTIFICATE_HEADER_BYTES,
  certificateEntry,
  CHECKSUM_BYTES,
  CHECKSUM_OFFSET,
  COFF_HEADER_BYTES,
  coffHeader,
  DIRECTORIES_OFFSET,
  DIRECTORY_BYTES,
  DOS_HEADER_BYTES,
  dosHeader,
  optionalHeader,
  SECTION_HEADER_BYTES,
  sectionHeader,
} from './pe-layout.ts';
import type { SectionHeader } from './pe-layout.ts';

export const peRefusals = defineRefusals('malformed', {
  'pe-header': {
    means: 'The headers of a PE image contradict each other or the file.',
    hint: 'Give the file as it is started by the firmware; it may have been cut.',
  },
  'pe-section': {
    means: 'Sections of a PE image overlap, leave gaps or reach out of the file.',
    hint: 'Build the image again with a current tool; firmware and signing tools may disagree about such a file.',
  },
  'pe-certificates': {
    means: 'The signatures of a PE image are not the last thing in the file, or their lengths do not agree.',
    hint: 'Sign the image again, and append nothing to it afterwards.',
  },
});

/** One section. Only `data` is in the file; memory behind it is zero when the image runs. */
export interface PeSection {
  readonly name: string;
  /** Size in memory. */
  readonly virtualBytes: number;
  readonly virtualAddress: number;
  readonly data: Uint8Array;
}

export interface PeImage {
  readonly machine: number;
  /** 10 application, 11 boot driver, 12 runtime driver. */
  readonly subsystem: number;
  /** In the order of the section table. */
  readonly sections: readonly PeSection[];
  /** PKCS #7 signatures, unverified. */
  readonly signatures: readonly Uint8Array[];
  /** What the Authenticode digest covers, in order: views of the file. */
  readonly digested: readonly Uint8Array[];
}

/**
 * @param name what the image is, for refusals
 * @throws RefusalError `pe-*`, `layout-*`
 */
export function readPeImage(file: Uint8Array, name: string): PeImage {
  const headers = readHeaders(file, name);
  const sections = headers.sections.map((header, i) => readSection(header, `${name}.sections[${i}]`));
  demandApart(headers.sections, name);
  const sectionsEnd = demandContiguous(headers, file, name);
  const certificatesStart = demandCertificatesLast(headers, sectionsEnd, file, name);
  const signatures = readSignatures(file.subarray(certificatesStart), name);
  return {
    machine: headers.machine,
    subsystem: headers.subsystem,
    sections: sections.map(({ rawOffset, rawBytes, ...section }) => ({
      ...section,
      data: file.subarray(rawOffset, rawOffset + rawBytes),
    })),
    signatures,
    digested: [
      ...headers.unsignedGaps.map(({ from, to }) => file.subarray(from, to)),
      file.subarray(headers.headerBytes, certificatesStart),
    ],
  };
}

interface Span {
  readonly from: number;
  readonly to: number;
}

interface Headers {
  readonly machine: number;
  readonly subsystem: number;
  readonly headerBytes: number;
  readonly sections: readonly SectionHeader[];
  /** Of the signatures; both zero where there are none. */
  readonly certificates: { readonly address: number; readonly bytes: number };
  /** The headers without the checksum and the directory entry of the signatures. */
  readonly unsignedGaps: readonly Span[];
}

function refuseHeader(field: string, expected: string, found: string): never {
  throw peRefusals.error('pe-header', { field, expected, found });
}

function readHeaders(file: Uint8Array, name: string): Headers {
  const { headersOffset } = decode(dosHeader, file.subarray(0, DOS_HEADER_BYTES), `${name}.dosHeader`);
  if (headersOffset < DOS_HEADER_BYTES) {
    refuseHeader(`${name}.dosHeader.headersOffset`, `at least ${DOS_HEADER_BYTES}`, String(headersOffset));
  }
  const optionalOffset = headersOffset + COFF_HEADER_BYTES;
  const coff = decode(coffHeader, file.subarray(headersOffset, optionalOffset), `${name}.coffHeader`);
  const tableOffset = optionalOffset + coff.optionalHeaderBytes;
  const optional = decode(
    optionalHeader,
    file.subarray(optionalOffset, tableOffset),
    `${name}.optionalHeader`,
  );
  const tableEnd = tableOffset + coff.sectionCount * SECTION_HEADER_BYTES;
  const { headerBytes } = optional;
  if (tableEnd > headerBytes || headerBytes > file.length) {
    refuseHeader(`${name}.optionalHeader.headerBytes`, `${tableEnd} to ${file.length}`, String(headerBytes));
  }
  return {
    machine: coff.machine,
    subsystem: optional.subsystem,
    headerBytes,
    sections: Array.from({ length: coff.sectionCount }, (_, i) => {
      const at = tableOffset + i * SECTION_HEADER_BYTES;
      return decode(sectionHeader, file.subarray(at, at + SECTION_HEADER_BYTES), `${name}.sections[${i}]`);
    }),
    certificates: optional.directories[CERTIFICATE_DIRECTORY] ?? { address: 0, bytes: 0 },
    unsignedGaps: aroundSignature(optionalOffset, optional, headerBytes),
  };
}

/** Signing changes the checksum and the directory entry of the signatures; no digest may depend on them. */
function aroundSignature(
  optionalOffset: number,
  { magic, directories }: { readonly magic: number; readonly directories: readonly unknown[] },
  headerBytes: number,
): readonly Span[] {
  const checksum = optionalOffset + CHECKSUM_OFFSET;
  const first = { from: 0, to: checksum };
  const afterChecksum = checksum + CHECKSUM_BYTES;
  if (directories.length <= CERTIFICATE_DIRECTORY) return [first, { from: afterChecksum, to: headerBytes }];
  const entry = optionalOffset + (DIRECTORIES_OFFSET[magic] ?? 0) + CERTIFICATE_DIRECTORY * DIRECTORY_BYTES;
  return [first, { from: afterChecksum, to: entry }, { from: entry + DIRECTORY_BYTES, to: headerBytes }];
}

function readSection(
  { name, virtualBytes, virtualAddress, rawBytes, rawOffset }: SectionHeader,
  path: string,
): Omit<PeSection, 'data'> & { readonly rawBytes: number; readonly rawOffset: number } {
  const end = name.indexOf(0);
  const text = end < 0 ? name : name.subarray(0, end);
  const isName =
    text.every((byte) => byte >= 0x20 && byte <= 0x7e) &&
    name.subarray(text.length).every((byte) => byte === 0);
  if (!isName) {
    const facts = {
      field: `${path}.name`,
      expected: 'printable ASCII, filled up with zeros',
      found: 'other bytes',
    };
    throw peRefusals.error('pe-section', facts);
  }
  return { name: fromUtf8(text, `${path}.name`), virtualBytes, virtualAddress, rawBytes, rawOffset };
}

/** Two sections at one place in memory would let the second change what the first was measured as. */
function demandApart(sections: readonly SectionHeader[], name: string): void {
  const byAddress = sections.toSorted((left, right) => left.virtualAddress - right.virtualAddress);
  let free = 0;
  for (const { virtualAddress, virtualBytes, rawBytes } of byAddress) {
    if (virtualAddress < free) refuseSection(name, `memory from ${free} on`, String(virtualAddress));
    free = virtualAddress + (virtualBytes === 0 ? rawBytes : virtualBytes);
  }
}

function refuseSection(name: string, expected: string, found: string): never {
  throw peRefusals.error('pe-section', { field: `${name}.sections`, expected, found });
}

/** Where the data of the last section ends. */
function demandContiguous({ sections, headerBytes }: Headers, file: Uint8Array, name: string): number {
  const inFile = sections
    .filter(({ rawBytes }) => rawBytes > 0)
    .toSorted((left, right) => left.rawOffset - right.rawOffset);
  let end = headerBytes;
  for (const { rawOffset, rawBytes } of inFile) {
    if (rawOffset !== end) refuseSection(name, `data at offset ${end}`, String(rawOffset));
    end = rawOffset + rawBytes;
  }
  if (end > file.length) refuseSection(name, `an end within ${file.length} bytes`, String(end));
  return end;
}

/** Where the signatures begin: the end of the file if there are none. */
function demandCertificatesLast(
  { certificates: { address, bytes } }: Headers,
  sectionsEnd: number,
  file: Uint8Array,
  name: string,
): number {
  if (address === 0 && bytes === 0) return file.length;
  const isLast = address >= sectionsEnd && address + bytes === file.length && bytes > 0;
  if (isLast && address % CERTIFICATE_ALIGNMENT === 0) return address;
  throw peRefusals.error('pe-certificates', {
    field: `${name}.certificates`,
    expected: `an aligned offset from ${sectionsEnd} on, and an end at ${file.length}`,
    found: `${bytes} bytes at ${address}`,
  });
}

function readSignatures(table: Uint8Array, name: string): readonly Uint8Array[] {
  const signatures: Uint8Array[] = [];
  let rest = table;
  while (rest.length > 0) {
    const path = `${name}.certificates[${signatures.length}]`;
    const { length, signature, next } = decode(certificateEntry, rest, path);
    if (length < CERTIFICATE_HEADER_BYTES) {
      const facts = { field: `${path}.length`, expected: 'its header too', found: String(length) };
      throw peRefusals.error('pe-certificates', facts);
    }
    signatures.push(signature);
    rest = next;
  }
  return signatures;
}
