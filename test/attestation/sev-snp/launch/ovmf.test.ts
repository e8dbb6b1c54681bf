/** LM-1 to LM-5: what an image says, and that no image makes its reader do anything but refuse. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { isRefusal } from '../../../../attestation/core/refusal.ts';
import { readGuidTable } from '../../../../attestation/sev-snp/launch/guid-table.ts';
import { readOvmf } from '../../../../attestation/sev-snp/launch/ovmf.ts';
import {
  AMD_SEV_SECTIONS,
  GENERAL_SECTIONS,
  HASH_TABLE,
  ovmfImage,
  RESET_BLOCK,
  SECRET_BLOCK,
  SEV_METADATA,
  words,
  type ImageEntry,
  type ImageOptions,
  type ImageSection,
} from '../../../support/ovmf-image.ts';
import { refusalCode, refusalOf } from '../../../support/refusal-code.ts';

const codeOf = (options: ImageOptions): string => refusalCode(() => readOvmf(ovmfImage(options)));

const without =
  (guid: string) =>
  (entries: readonly ImageEntry[]): ImageEntry[] =>
    entries.filter(([name]) => name !== guid);
const replaced =
  (guid: string, data: Uint8Array) =>
  (entries: readonly ImageEntry[]): ImageEntry[] =>
    entries.map((entry) => (entry[0] === guid ? [guid, data] : entry));
const withWord =
  (at: number, value: number) =>
  (metadata: Uint8Array): Uint8Array => {
    const copy = metadata.slice();
    copy.set(words(value), at);
    return copy;
  };

describe('an image', () => {
  it('LM-3, LM-5: says where vCPUs start, which pages it needs and where hashes go', () => {
    const image = readOvmf(ovmfImage({ pages: 3, resetAddress: 0x80_b004 }));
    expect(image).toMatchObject({
      address: 0xffff_d000,
      resetAddress: 0x80_b004,
      sections: AMD_SEV_SECTIONS,
      kernelHashesAddress: 0x81_0c00,
    });
  });

  it('LM-5: needs no place for hashes when it has no section for them', () => {
    const general = { sections: GENERAL_SECTIONS, hashTable: [0, 0] } as const;
    expect(readOvmf(ovmfImage(general)).kernelHashesAddress).toBeNull();
    const editEntries = without(HASH_TABLE);
    expect(readOvmf(ovmfImage({ ...general, editEntries })).kernelHashesAddress).toBeNull();
  });

  it('LM-2: may have entries that are not named here', () => {
    expect(codeOf({ editEntries: without(SECRET_BLOCK) })).toBe('accepted');
    const other: ImageEntry = ['e47a6535-984a-4798-865e-4685a7bf8ec2', words(1, 2, 3)];
    expect(codeOf({ editEntries: (entries) => [other, ...entries] })).toBe('accepted');
  });

  it('LM-1: has whole pages and is not too large', () => {
    const image = ovmfImage();
    for (const bytes of [new Uint8Array(), image.subarray(1), new Uint8Array(0x100_1000)]) {
      expect(refusalCode(() => readOvmf(bytes))).toBe('ovmf-size');
    }
  });

  it('LM-1: may have 16 MiB', () => {
    const image = new Uint8Array(0x100_0000);
    const end = ovmfImage();
    image.set(end, image.length - end.length);
    expect(readOvmf(image).address).toBe(0xff00_0000);
  });

  it('LM-3: may have its metadata in its first or its last bytes', () => {
    const atStart = ovmfImage({ editEntries: replaced(SEV_METADATA, words(8192)) });
    atStart.copyWithin(0, atStart.length - 0x600, atStart.length - 0x500);
    expect(readOvmf(atStart).sections).toEqual(AMD_SEV_SECTIONS);
    const atEnd = ovmfImage({ sections: [], editEntries: replaced(SEV_METADATA, words(16)) });
    atEnd.copyWithin(atEnd.length - 16, atEnd.length - 0x600, atEnd.length - 0x5f0);
    expect(readOvmf(atEnd).sections).toEqual([]);
  });

  it('LM-5: may have the table of hashes anywhere in its page', () => {
    for (const address of [0x81_0000, 0x81_0f50]) {
      expect(readOvmf(ovmfImage({ hashTable: [address, 176] })).kernelHashesAddress).toBe(address);
    }
  });

  it.each<[string, ImageOptions, string]>([
    ['LM-2: another GUID at the end', { footer: RESET_BLOCK }, 'ovmf-table'],
    ['LM-2: a GUID twice', { editEntries: (all) => [...all, [RESET_BLOCK, words(1)]] }, 'ovmf-table'],
    ['LM-3: no metadata', { editEntries: without(SEV_METADATA) }, 'ovmf-entry'],
    ['LM-3: metadata before the image', { editEntries: replaced(SEV_METADATA, words(8193)) }, 'ovmf-entry'],
    ['LM-3: metadata after the end', { editEntries: replaced(SEV_METADATA, words(15)) }, 'ovmf-entry'],
    [
      'LM-3: a pointer of 8 bytes',
      { editEntries: replaced(SEV_METADATA, words(0x600, 0)) },
      'layout-trailing',
    ],
    ['LM-3: another signature', { editMetadata: withWord(0, 1) }, 'layout-value'],
    ['LM-3: a size beyond the image', { editMetadata: withWord(4, 0x601) }, 'ovmf-entry'],
    ['LM-3: a size with more than the sections', { editMetadata: withWord(4, 101) }, 'layout-trailing'],
    ['LM-3: a size with less than the sections', { editMetadata: withWord(4, 99) }, 'layout-truncated'],
    ['LM-3: version 2', { editMetadata: withWord(8, 2) }, 'layout-value'],
    ['LM-3: 65 sections', { editMetadata: withWord(12, 65) }, 'layout-value'],
    ['LM-3: a section of type 5', { editMetadata: withWord(24, 5) }, 'layout-value'],
    ['LM-5: no reset block', { editEntries: without(RESET_BLOCK) }, 'ovmf-entry'],
    [
      'LM-5: a reset block of 8 bytes',
      { editEntries: replaced(RESET_BLOCK, words(1, 2)) },
      'layout-trailing',
    ],
    ['LM-5: no hash table', { editEntries: without(HASH_TABLE) }, 'ovmf-entry'],
    ['LM-5: a hash table that is empty', { hashTable: [0, 0] }, 'ovmf-entry'],
    ['LM-5: a hash table before its page', { hashTable: [0x80_fff0, 0x400] }, 'ovmf-entry'],
    ['LM-5: a hash table that ends after its page', { hashTable: [0x81_0f60, 0x400] }, 'ovmf-entry'],
    ['LM-5: a hash table that is too small', { hashTable: [0x81_0c00, 175] }, 'ovmf-entry'],
  ])('%s is refused', (_what, options, code) => {
    expect(codeOf(options)).toBe(code);
  });

  /** Of the whole table and of the entry at its end: how far before the end of an image their sizes stand. */
  const TABLE_SIZE = 50;
  const LAST_ENTRY_SIZE = 68;
  it.each<[string, number, (size: number) => number]>([
    ['a table that is shorter than its last entry', TABLE_SIZE, () => 17],
    ['a table that is longer than the image', TABLE_SIZE, () => 8161],
    ['a table with bytes before its first entry', TABLE_SIZE, (size) => size + 17],
    ['a table that cuts its first entry', TABLE_SIZE, (size) => size - 1],
    ['an entry of no size', LAST_ENTRY_SIZE, () => 0],
    ['an entry that is shorter than its head', LAST_ENTRY_SIZE, () => 17],
    ['an entry that is longer than the table', LAST_ENTRY_SIZE, () => 1000],
  ])('LM-2: %s is refused', (_what, fromEnd, edit) => {
    const image = ovmfImage();
    const view = new DataView(image.buffer);
    const at = image.length - fromEnd;
    view.setUint16(at, edit(view.getUint16(at, true)), true);
    expect(refusalCode(() => readOvmf(image))).toBe('ovmf-table');
  });

  const memory: ImageSection = { address: 0x80_0000, size: 0x2000, type: 1 };
  it.each<[string, readonly ImageSection[]]>([
    ['an address inside a page', [{ ...memory, address: 0x80_0800 }]],
    ['half a page', [{ ...memory, size: 0x800 }]],
    ['no page', [{ ...memory, size: 0 }]],
    ['an end inside the image', [{ ...memory, address: 0xffff_d000 }]],
    ['an end after 4 GiB', [{ ...memory, address: 0xffff_f000 }]],
    ['two pages of secrets', [{ ...memory, type: 2 }]],
    ['two pages of CPUID', [{ ...memory, type: 3 }]],
    ['two pages of hashes', [{ ...memory, type: 16 }]],
    ['two sections of secrets', [0, 1].map((i) => ({ address: i * 4096, size: 4096, type: 2 }))],
    ['an overlap', [memory, { address: 0x80_1000, size: 0x1000, type: 2 }]],
    ['an overlap in another order', [{ address: 0x80_1000, size: 0x1000, type: 2 }, memory]],
    ['more than 16 MiB', [{ ...memory, size: 0x100_1000 }]],
  ])('LM-4: sections with %s are refused', (_what, sections) => {
    expect(codeOf({ sections })).toBe('ovmf-sections');
  });

  it('LM-4: sections may touch each other and the image', () => {
    const last = { address: 0xffff_c000, size: 0x2000, type: 1 };
    expect(codeOf({ sections: [{ ...last, address: 0xffff_a000 }, last] })).toBe('accepted');
  });

  it('LM-4: sections may stand in any order and have 16 MiB together', () => {
    const descending = AMD_SEV_SECTIONS.toReversed();
    expect(readOvmf(ovmfImage({ sections: descending })).sections).toEqual(descending);
    expect(codeOf({ sections: [{ ...memory, size: 0x100_0000 }] })).toBe('accepted');
  });
});

describe('a table of GUIDs', () => {
  const name = '9a4b3c2d-0000-4000-8000-000000000001';
  /** A table and the 32 bytes behind it, with nothing in front. */
  const tableOf = (...entries: readonly ImageEntry[]): Uint8Array => {
    const bytes = entries.reduce((sum, [, data]) => sum + 18 + data.length, 18 + 32);
    return ovmfImage({ editEntries: () => [...entries] }).slice(-bytes);
  };

  it('LM-2: may be empty, begin with the input, and have entries without data', () => {
    expect(readGuidTable(tableOf(), 'table').size).toBe(0);
    const entries = readGuidTable(tableOf([name, new Uint8Array()], [RESET_BLOCK, words(1)]), 'table');
    expect([...entries.values()]).toEqual([words(1), new Uint8Array()]);
  });

  it('LM-2: is refused by what is shorter than its end', () => {
    const refusal = refusalOf(() => readGuidTable(tableOf().subarray(1), 'table'));
    expect(refusal).toMatchObject({ code: 'ovmf-table', field: 'table', found: '49 bytes' });
  });

  it('LM-2: has no entry that is shorter than its head', () => {
    const table = tableOf([name, new Uint8Array()]);
    new DataView(table.buffer).setUint16(0, 17, true);
    expect(refusalOf(() => readGuidTable(table, 'table'))).toMatchObject({
      code: 'ovmf-table',
      field: expect.stringMatching(/^table\.[0-9a-f]{32}$/) as unknown,
      found: '17 bytes',
    });
  });
});

describe('any bytes', () => {
  const isHarmless = (bytes: Uint8Array): void => {
    try {
      readOvmf(bytes);
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  };

  it('LM-2, LM-3: are read or refused', () => {
    const page = fc.uint8Array({ minLength: 4096, maxLength: 4096 });
    fc.assert(fc.property(page, isHarmless), { numRuns: 200 });
  });

  it('LM-2, LM-3: of an image with a few changed where it is read are read or refused', () => {
    const good = ovmfImage();
    const change = fc.tuple(fc.integer({ min: good.length - 0x680, max: good.length - 1 }), fc.nat(255));
    const changes = fc.array(change, { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(changes, (edits) => {
        const bytes = good.slice();
        for (const [at, value] of edits) bytes[at] = value;
        isHarmless(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  it('LM-3, LM-4: sections are read exactly as they were written', () => {
    const gaps = fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 4 }), fc.constantFrom(1, 4)), {
      maxLength: 64,
    });
    fc.assert(
      fc.property(gaps, (parts) => {
        let address = 0x80_0000;
        const sections = parts.map(([gap, pages, type]) => {
          const section = { address: address + gap * 4096, size: pages * 4096, type };
          address = section.address + section.size;
          return section;
        });
        expect(readOvmf(ovmfImage({ sections })).sections).toEqual(sections);
      }),
      { numRuns: 200 },
    );
  });
});
