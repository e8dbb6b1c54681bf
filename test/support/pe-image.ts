/**
 * PE images as a linker makes them, byte by byte and without the code under test: an MS-DOS header, a PE32+ header, the
 * section table, and sections whose data is filled up to the alignment in the file.
 */

export interface WrittenSection {
  readonly name: string;
  readonly data: Uint8Array;
  /** Size in memory; that of the data unless given. */
  readonly virtualBytes?: number;
  readonly virtualAddress?: number;
  readonly rawOffset?: number;
}

export interface WrittenImage {
  readonly sections: readonly WrittenSection[];
  /** PKCS #7 data, put into the table of certificates. */
  readonly signature?: Uint8Array;
  readonly form?: 'PE32' | 'PE32+';
  readonly directories?: number;
  /** Changes the file before it is returned. */
  readonly edit?: (file: DataView, places: Places) => void;
}

/** Offsets in the file, for tests that change one member. */
export interface Places {
  readonly coff: number;
  readonly optional: number;
  readonly checksum: number;
  readonly certificates: number;
  readonly sectionTable: number;
}

const FILE_ALIGNMENT = 512;
const MEMORY_ALIGNMENT = 4096;
const HEADERS_OFFSET = 0x80;

const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment;

export function peImage(image: WrittenImage): Uint8Array {
  const { sections, signature, form = 'PE32+', directories = 16 } = image;
  const directoriesAt = form === 'PE32+' ? 112 : 96;
  const optional = HEADERS_OFFSET + 24;
  const sectionTable = optional + directoriesAt + 8 * directories;
  const headerBytes = alignUp(sectionTable + 40 * sections.length, FILE_ALIGNMENT);
  const placed = placeSections(sections, headerBytes);
  const sectionsEnd = placed.reduce(
    (end, { rawOffset, rawBytes }) => Math.max(end, rawOffset + rawBytes),
    headerBytes,
  );
  const tableBytes = signature === undefined ? 0 : alignUp(8 + signature.length, 8);
  const file = new Uint8Array(sectionsEnd + tableBytes);
  const view = new DataView(file.buffer);
  const places: Places = {
    coff: HEADERS_OFFSET,
    optional,
    checksum: optional + 64,
    certificates: optional + directoriesAt + 32,
    sectionTable,
  };
  writeHeaders(view, places, { form, directories, directoriesAt, headerBytes, count: sections.length });
  for (const [i, section] of placed.entries()) writeSection(view, sectionTable + 40 * i, section);
  if (signature !== undefined) writeSignature(view, places, sectionsEnd, signature);
  image.edit?.(view, places);
  return file;
}

type PlacedSection = Required<WrittenSection> & { readonly rawBytes: number };

function placeSections(sections: readonly WrittenSection[], headerBytes: number): readonly PlacedSection[] {
  let raw = headerBytes;
  let memory = alignUp(headerBytes, MEMORY_ALIGNMENT);
  return sections.map((section) => {
    const { data, virtualBytes = data.length, virtualAddress = memory, rawOffset = raw } = section;
    const rawBytes = alignUp(data.length, FILE_ALIGNMENT);
    raw = rawOffset + rawBytes;
    memory = alignUp(virtualAddress + Math.max(virtualBytes, 1), MEMORY_ALIGNMENT);
    return { ...section, virtualBytes, virtualAddress, rawOffset, rawBytes };
  });
}

interface HeaderFacts {
  readonly form: 'PE32' | 'PE32+';
  readonly directories: number;
  readonly directoriesAt: number;
  readonly headerBytes: number;
  readonly count: number;
}

function writeHeaders(view: DataView, { coff, optional }: Places, facts: HeaderFacts): void {
  view.setUint16(0, 0x5a4d, true);
  view.setUint32(0x3c, HEADERS_OFFSET, true);
  view.setUint32(coff, 0x4550, true);
  view.setUint16(coff + 4, 0x8664, true);
  view.setUint16(coff + 6, facts.count, true);
  view.setUint16(coff + 20, facts.directoriesAt + 8 * facts.directories, true);
  view.setUint16(coff + 22, 0x206, true);
  view.setUint16(optional, facts.form === 'PE32+' ? 0x20b : 0x10b, true);
  view.setUint32(optional + 32, MEMORY_ALIGNMENT, true);
  view.setUint32(optional + 36, FILE_ALIGNMENT, true);
  view.setUint32(optional + 60, facts.headerBytes, true);
  view.setUint16(optional + 68, 10, true);
  view.setUint32(optional + facts.directoriesAt - 4, facts.directories, true);
}

function writeSection(view: DataView, at: number, section: PlacedSection): void {
  const file = new Uint8Array(view.buffer);
  file.set(Buffer.from(section.name, 'latin1'), at);
  view.setUint32(at + 8, section.virtualBytes, true);
  view.setUint32(at + 12, section.virtualAddress, true);
  view.setUint32(at + 16, section.rawBytes, true);
  view.setUint32(at + 20, section.rawOffset, true);
  view.setUint32(at + 36, 0x40000040, true);
  file.set(section.data, section.rawOffset);
}

function writeSignature(view: DataView, { certificates }: Places, at: number, signature: Uint8Array): void {
  const length = 8 + signature.length;
  view.setUint32(certificates, at, true);
  view.setUint32(certificates + 4, alignUp(length, 8), true);
  view.setUint32(at, length, true);
  view.setUint16(at + 4, 0x0200, true);
  view.setUint16(at + 6, 0x0002, true);
  new Uint8Array(view.buffer).set(signature, at + 8);
}

/** The mark by which a stub states its release. */
export const stubMark = (release: string): WrittenSection => ({
  name: '.sdmagic',
  data: new TextEncoder().encode(`#### LoaderInfo: systemd-stub ${release} ####\0`),
});
