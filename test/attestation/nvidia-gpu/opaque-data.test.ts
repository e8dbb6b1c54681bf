import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, fromHex, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { readOpaqueData, writeOpaqueData } from '../../../attestation/nvidia-gpu/opaque-data.ts';
import type { OpaqueData, PackedEntry } from '../../../attestation/nvidia-gpu/opaque-data.ts';
import {
  gpuEntries,
  readGpuFields,
  readSwitchFields,
  switchEntries,
} from '../../../attestation/nvidia-gpu/opaque-fields.ts';
import type { GpuFields, SwitchFields } from '../../../attestation/nvidia-gpu/opaque-fields.ts';
import { readReport } from '../../../attestation/nvidia-gpu/spdm.ts';
import { refusalCode } from '../../support/refusal-code.ts';
import { nvidiaVectorsMissing, vectorDevice, vectorMachine } from './vectors.ts';

const GPU: GpuFields = {
  driverVersion: '590.48.01',
  gpuInfo: new Uint8Array(8).fill(1),
  vbiosVersion: '96.00.9F.00.01',
  nvdec0Status: 'enabled',
  measurementCounts: [0, 1, 0x01020304],
  cprInfo: new Uint8Array(4).fill(2),
  boardId: new Uint8Array(4).fill(3),
  chipSku: '882',
  chipSkuModifier: '0',
  project: '1010',
  projectSku: '0200',
  projectSkuModifier: '',
  fwid: new Uint8Array(48).fill(4),
  protectedPcie: 'disabled',
  switchPdis: [Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), new Uint8Array(8)],
  systemEnableStatus: Uint8Array.of(7, 7),
  dataVersion: 1,
  chipInfo: 'GB100',
  featureFlag: 'mpt',
  fspUcodeSvn: 5,
};

const SWITCH: SwitchFields = {
  vbiosVersion: '96.10.73.00.01',
  measurementCounts: [1],
  pdi: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
  disabledPorts: Uint8Array.of(0xec, 0),
  positionId: 2,
  lockStatus: 1,
  gpuPdis: Array.from({ length: 8 }, (_, i) => new Uint8Array(8).fill(i)),
  portMap: new Uint8Array(64).fill(0xff),
};

function packed(entries: readonly PackedEntry[]): OpaqueData {
  return { format: 'packed', entries };
}

function gpuCode(data: OpaqueData): string {
  return refusalCode(() => readGpuFields(readOpaqueData(writeOpaqueData(data), 'data'), 'data'));
}

/** The entries of a GPU with one of them in another form, or left out. */
function withEntry(type: number, value: Uint8Array | undefined, fields: GpuFields = GPU): OpaqueData {
  const others = gpuEntries(fields).filter((entry) => entry.type !== type);
  return packed(value === undefined ? others : [...others, { type, value }]);
}

const VALUE_TYPES: Readonly<Record<number, number>> = {
  3: 0x86,
  6: 0x86,
  12: 0x84,
  13: 0x83,
  20: 0x01,
  21: 0x85,
  34: 0x86,
  36: 0x85,
  37: 0x87,
};

function typed(entries: readonly PackedEntry[], major = 2): OpaqueData & { readonly format: 'typed' } {
  return {
    format: 'typed',
    version: { major, minor: 0, patch: 0 },
    entries: entries.map(({ type, value }) => ({ type, valueType: VALUE_TYPES[type] ?? 0x82, value })),
  };
}

describe('opaque data', () => {
  it('NG-6: are entries, behind a header or without one', () => {
    const entry = { type: 0x0102, value: Uint8Array.of(9, 8, 7) };
    const bare = writeOpaqueData(packed([entry]));
    expect(toHex(bare)).toBe('02010300090807');
    const headed = writeOpaqueData(typed([entry]));
    expect(toHex(headed)).toBe(`${toHex(toUtf8('NVDAOD'))}000002000000020182000300090807`);
    for (const bytes of [bare, headed]) expect(writeOpaqueData(readOpaqueData(bytes, 'x'))).toEqual(bytes);
  });

  it('NG-6: W11: read and write are inverse, and every cut in an entry is refused', () => {
    const entry = fc.record({ value: fc.uint8Array({ maxLength: 20 }) });
    const list = fc.uniqueArray(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 });
    fc.assert(
      fc.property(
        list,
        fc.array(entry, { minLength: 8, maxLength: 8 }),
        fc.boolean(),
        (types, values, header) => {
          const entries = types.map((type, i) => ({ type, value: values[i]!.value }));
          const data = header ? typed(entries) : packed(entries);
          const bytes = writeOpaqueData(data);
          expect(readOpaqueData(bytes, 'x')).toEqual(data);
          const ends = endsOf(data);
          for (let length = 0; length < bytes.length; length += 1) {
            const code = refusalCode(() => readOpaqueData(bytes.subarray(0, length), 'x'));
            if (!ends.includes(length)) expect([length, code]).toEqual([length, 'layout-truncated']);
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it('NG-6: what bears the magic is never read without a header', () => {
    const magic = toUtf8('NVDAOD');
    expect(refusalCode(() => readOpaqueData(magic, 'x'))).toBe('layout-truncated');
    // As entries these are type 564e with 4144 bytes: a fall-back would read them.
    const ambiguous = concatBytes(magic, new Uint8Array(0x4144).fill(1));
    expect(refusalCode(() => readOpaqueData(ambiguous, 'x'))).not.toBe('accepted');
    expect(readOpaqueData(toUtf8('NV\x02\x00OD'), 'x')).toMatchObject({ format: 'packed' });
  });

  it.each([
    ['profile', 6, 'gpu-opaque-version'],
    ['high byte of the profile', 7, 'gpu-opaque-version'],
    ['major version', 8, 'gpu-opaque-version'],
    ['padding', 11, 'layout-reserved'],
  ])('NG-7: refuse another %s', (_, at, code) => {
    const bytes = writeOpaqueData(typed([]));
    bytes[at] = (bytes[at] ?? 0) + 1;
    expect(refusalCode(() => readOpaqueData(bytes, 'x'))).toBe(code);
  });

  it('NG-7: refuse the major versions before', () => {
    for (const major of [0, 1]) {
      const bytes = writeOpaqueData(typed([], major));
      expect(refusalCode(() => readOpaqueData(bytes, 'x'))).toBe('gpu-opaque-version');
    }
  });

  it('NG-8: refuse an entry that stands there twice', () => {
    const twice = [...gpuEntries(GPU), { type: 3, value: toUtf8('999.99\0') }];
    for (const data of [packed(twice), typed(twice)]) expect(gpuCode(data)).toBe('gpu-opaque-repeated');
  });
});

/** Where whole entries end: a cut there leaves fewer entries, or nothing, and is for the fields to refuse. */
function endsOf(data: OpaqueData): readonly number[] {
  const header = data.format === 'typed' ? 12 : 0;
  const frame = data.format === 'typed' ? 6 : 4;
  const ends = [0, header];
  for (const { value } of data.entries) ends.push(ends.at(-1)! + frame + value.length);
  return ends;
}

describe('entries of GPUs', () => {
  it('NG-8: W11: are what was written', () => {
    expect(readGpuFields(packed(gpuEntries(GPU)), 'x')).toEqual(GPU);
    const behind = { ...GPU, dataVersion: 0x0200 };
    expect(readGpuFields(typed(gpuEntries(behind)), 'x')).toEqual(behind);
  });

  it.each([3, 6, 11, 12, 15, 17, 18])('NG-9: refuse a report without type %i', (type) => {
    expect(gpuCode(withEntry(type, undefined))).toBe('gpu-opaque-required');
  });

  it.each([4, 13, 14, 16, 19, 20, 21, 22, 33, 35, 37])('NG-9: may be without type %i', (type) => {
    expect(gpuCode(withEntry(type, undefined))).toBe('accepted');
  });

  it.each([0, 1, 2, 5, 7, 8, 9, 10, 23, 26, 32, 38, 255, 0xffff])('NG-8: refuse the type %i', (type) => {
    expect(gpuCode(withEntry(type, Uint8Array.of(0)))).toBe('gpu-opaque-type');
  });

  it.each([
    [3, '353930', 'gpu-opaque-value'],
    [3, '3539302e340058', 'gpu-opaque-value'],
    [3, '3539302e', 'gpu-opaque-value'],
    [3, '35393000', 'gpu-version'],
    [3, 'ff00', 'utf8-malformed'],
    [4, '00', 'layout-truncated'],
    [6, '009f0096010000', 'gpu-version'],
    [6, '009f009601000001', 'gpu-version'],
    [11, 'ab', 'gpu-opaque-value'],
    [11, 'aaaa', 'gpu-opaque-value'],
    [11, '', 'gpu-opaque-value'],
    [12, '0102030405', 'layout-truncated'],
    [13, '0000000000', 'layout-trailing'],
    [15, '3838322f00', 'gpu-opaque-value'],
    [17, '00', 'gpu-opaque-value'],
    [20, '00'.repeat(47), 'layout-truncated'],
    [20, '00'.repeat(49), 'layout-trailing'],
    [21, '00', 'gpu-opaque-value'],
    [22, '00'.repeat(9), 'layout-truncated'],
    [22, '00'.repeat(8 * 37), 'gpu-opaque-value'],
    [34, '0200', 'gpu-opaque-version'],
    [35, '4742', 'gpu-opaque-value'],
    [36, '0300', 'gpu-opaque-value'],
    [36, '01', 'gpu-opaque-value'],
    [37, '05', 'layout-truncated'],
  ])('NG-8: refuse type %i with %s', (type, hex, code) => {
    expect(gpuCode(withEntry(type, fromHex(hex, 'hex')))).toBe(code);
  });

  it.each([
    [undefined, 'mpt', 'gpu-opaque-required'],
    [undefined, undefined, 'accepted'],
    [0, 'spt', 'gpu-opaque-required'],
    [0, undefined, 'accepted'],
    [1, undefined, 'gpu-opaque-required'],
    [1, 'ppcie', 'accepted'],
  ] as const)('NG-10: version %s with the feature flag %s: %s', (dataVersion, featureFlag, code) => {
    expect(gpuCode(packed(gpuEntries({ ...GPU, dataVersion, featureFlag })))).toBe(code);
  });

  it('NG-10: behind a header the version is that of the header', () => {
    expect(gpuCode(typed(gpuEntries({ ...GPU, dataVersion: 0x0200 })))).toBe('accepted');
    expect(gpuCode(typed(gpuEntries({ ...GPU, dataVersion: undefined })))).toBe('accepted');
    for (const dataVersion of [0, 1, 2, 0x0201, 0x0300]) {
      expect(gpuCode(typed(gpuEntries({ ...GPU, dataVersion })))).toBe('gpu-opaque-version');
    }
    const unflagged = { ...GPU, dataVersion: 0x0200, featureFlag: undefined };
    expect(gpuCode(typed(gpuEntries(unflagged)))).toBe('gpu-opaque-required');
  });

  it('NG-8: behind a header refuse another type of value', () => {
    const { entries, ...data } = typed(gpuEntries({ ...GPU, dataVersion: 0x0200 }));
    for (const { type } of entries) {
      const changed = entries.map((entry) => (entry.type === type ? { ...entry, valueType: 0x88 } : entry));
      expect([type, gpuCode({ ...data, entries: changed })]).toEqual([type, 'gpu-opaque-value']);
    }
  });

  it('NG-12: turn the numbers of peers round', () => {
    const data = packed(gpuEntries(GPU));
    const entry = data.entries.find(({ type }) => type === 22);
    expect(toHex(entry!.value)).toBe('0807060504030201'.padEnd(32, '0'));
    expect(readGpuFields(data, 'x').switchPdis).toEqual(GPU.switchPdis);
  });

  it('W11: arbitrary entries give fields or a refusal', () => {
    const entry = fc.record({
      type: fc.integer({ min: 0, max: 40 }),
      value: fc.uint8Array({ maxLength: 60 }),
    });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 12 }), (entries) => {
        const changed = entries.reduce(
          (list, other) => [...list.filter(({ type }) => type !== other.type), other],
          gpuEntries(GPU),
        );
        gpuCode(packed(changed));
        refusalCode(() => readSwitchFields(packed(entries), 'x'));
      }),
      { numRuns: 200 },
    );
  });
});

describe('entries of switches', () => {
  const code = (entries: readonly PackedEntry[]): string =>
    refusalCode(() => readSwitchFields(packed(entries), 'x'));

  it('NG-8: W11: are what was written', () => {
    expect(readSwitchFields(packed(switchEntries(SWITCH)), 'x')).toEqual(SWITCH);
  });

  it.each([6, 22, 23, 24, 25, 26])('NG-9: refuse a report without type %i', (type) => {
    expect(code(switchEntries(SWITCH).filter((entry) => entry.type !== type))).toBe('gpu-opaque-required');
  });

  it('NG-9: early firmware has the list of GPUs under type 4, and none has both', () => {
    const entries = switchEntries(SWITCH);
    const list = entries.find(({ type }) => type === 26)!;
    const early = entries.map((entry) => (entry === list ? { ...list, type: 4 } : entry));
    expect(readSwitchFields(packed(early), 'x').gpuPdis).toEqual(SWITCH.gpuPdis);
    expect(code([...early, list])).toBe('gpu-opaque-required');
  });

  it('NG-6: NG-8: have no header and no entries of GPUs', () => {
    const headed = typed(switchEntries(SWITCH));
    expect(refusalCode(() => readSwitchFields(headed, 'x'))).toBe('gpu-opaque-version');
    expect(code([...switchEntries(SWITCH), { type: 20, value: new Uint8Array(48) }])).toBe('gpu-opaque-type');
    const ended = switchEntries(SWITCH).map((entry) =>
      entry.type === 6 ? { type: 6, value: toUtf8('96.10.73.00.01\0') } : entry,
    );
    expect(code(ended)).toBe('gpu-opaque-value');
  });
});

describe.skipIf(nvidiaVectorsMissing !== undefined)(`genuine entries ${nvidiaVectorsMissing ?? ''}`, () => {
  function dataOf(id: string): OpaqueData {
    const { report, kind } = vectorDevice(id);
    return readOpaqueData(readReport(report, kind).response.opaqueData, 'data');
  }

  it.each([
    ['h100-550.90.07', { driverVersion: '550.90.07', vbiosVersion: '96.00.9F.00.01', projectSku: '0200' }],
    ['gb100-575.32', { driverVersion: '575.32', vbiosVersion: '97.00.88.00.0F', project: 'G525' }],
    ['gh100-620.12-nvdaod', { driverVersion: '620.12', vbiosVersion: '96.00.D9.00.0F', fspUcodeSvn: 0 }],
  ] as const)('NG-11: of %s are those of the manifest', (id, expected) => {
    expect(readGpuFields(dataOf(id), 'data')).toMatchObject(expected);
  });

  it('NG-12: of a whole machine name each other', () => {
    const devices = vectorMachine('set/hgx-h100-ppcie-590.12');
    const pdis = devices.map(({ report, kind }) => {
      const data = readOpaqueData(readReport(report, kind).response.opaqueData, 'data');
      return kind === 'gpu' ? readGpuFields(data, 'x').switchPdis! : [readSwitchFields(data, 'x').pdi];
    });
    const switches = new Set(pdis.slice(8).flat().map(toHex));
    expect(switches.size).toBe(4);
    for (const peers of pdis.slice(0, 8)) expect(new Set(peers.map(toHex))).toEqual(switches);
  });
});
