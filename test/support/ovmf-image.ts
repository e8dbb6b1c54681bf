/**
 * OVMF images as edk2 lays them out, made byte by byte and without the code under test: content, the SEV metadata, the
 * table of GUIDs read from its end, and the reset vector in the last 32 bytes.
 */

export const RESET_BLOCK = '00f771de-1a7e-4fcb-890e-68c77e2fb44e';
export const HASH_TABLE = '7255371f-3a3b-4b04-927b-1da6efa8d454';
export const SECRET_BLOCK = '4c2eb361-7d9b-4cc3-8081-127c90d3d294';
export const SEV_METADATA = 'dc886566-984a-4798-a75e-5585a7bf67cc';
export const TABLE_FOOTER = '96b582de-1fb2-45f7-baea-a366c55a082d';

export interface ImageSection {
  readonly address: number;
  readonly size: number;
  readonly type: number;
}

export interface ImageOptions {
  readonly pages?: number;
  readonly sections?: readonly ImageSection[];
  readonly resetAddress?: number;
  /** The base and size of the table of kernel hashes. */
  readonly hashTable?: readonly [address: number, size: number];
  /** Changes the entries before they are written: GUID and data, in the order of the image. */
  readonly editEntries?: (entries: ImageEntry[]) => ImageEntry[];
  /** Changes the metadata before they are written. */
  readonly editMetadata?: (metadata: Uint8Array) => Uint8Array;
  readonly footer?: string;
}

export type ImageEntry = readonly [guid: string, data: Uint8Array];

/** The sections of the AmdSev build of edk2 of 2024. */
export const AMD_SEV_SECTIONS: readonly ImageSection[] = [
  { address: 0x80_0000, size: 0x9000, type: 1 },
  { address: 0x80_a000, size: 0x3000, type: 1 },
  { address: 0x80_d000, size: 0x1000, type: 2 },
  { address: 0x80_e000, size: 0x1000, type: 3 },
  { address: 0x80_f000, size: 0x1000, type: 4 },
  { address: 0x81_0000, size: 0x1000, type: 0x10 },
  { address: 0x81_1000, size: 0xf000, type: 1 },
];

/** The same without a page for the hashes of a kernel, as general builds are. */
export const GENERAL_SECTIONS = AMD_SEV_SECTIONS.filter(({ type }) => type !== 0x10);

const HASH_TABLE_PLACE = [0x81_0c00, 0x400] as const;
const METADATA_FROM_END = 0x600;
const AFTER_TABLE = 32;

export function words(...values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (const [i, value] of values.entries()) view.setUint32(4 * i, value, true);
  return new Uint8Array(view.buffer);
}

function mixedEndian(guid: string): Buffer {
  const bytes = Buffer.from(guid.replaceAll('-', ''), 'hex');
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}

function entryBytes(guid: string, data: Uint8Array, size = data.length + 18): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16LE(size);
  return Buffer.concat([data, head, mixedEndian(guid)]);
}

function metadataBytes(sections: readonly ImageSection[]): Uint8Array {
  const head = words(16 + 12 * sections.length, 1, sections.length);
  const body = sections.map(({ address, size, type }) => words(address, size, type));
  return Buffer.concat([Buffer.from('ASEV'), head, ...body]);
}

/** A whole image. Its content is different on every page. */
export function ovmfImage(options: ImageOptions = {}): Uint8Array {
  const sections = options.sections ?? AMD_SEV_SECTIONS;
  const image = Buffer.alloc((options.pages ?? 2) * 4096);
  for (let i = 0; i < image.length; i += 1) image[i] = (i * 7 + (i >> 12) * 31 + 5) & 0xff;
  const entries = (options.editEntries ?? ((same) => same))([
    [SEV_METADATA, words(METADATA_FROM_END)],
    [HASH_TABLE, words(...(options.hashTable ?? HASH_TABLE_PLACE))],
    [SECRET_BLOCK, words(0, 0)],
    [RESET_BLOCK, words(options.resetAddress ?? 0x80_b004)],
  ]);
  const body = Buffer.concat(entries.map(([guid, data]) => entryBytes(guid, data)));
  const footer = entryBytes(options.footer ?? TABLE_FOOTER, new Uint8Array(), body.length + 18);
  image.set(Buffer.concat([body, footer]), image.length - AFTER_TABLE - body.length - footer.length);
  const metadata = (options.editMetadata ?? ((same) => same))(metadataBytes(sections));
  image.set(metadata, image.length - METADATA_FROM_END);
  return new Uint8Array(image);
}
