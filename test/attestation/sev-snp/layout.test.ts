import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import { cpuidText, productLineOf } from '../../../attestation/sev-snp/product.ts';
import { readReport, REPORT_BYTES, writeReport } from '../../../attestation/sev-snp/layout.ts';
import {
  componentsBelow,
  readTcb,
  tcbEncodingOf,
  tcbText,
  writeTcb,
} from '../../../attestation/sev-snp/tcb.ts';
import { refusalCode, refusalOf } from '../../support/refusal-code.ts';

/** A report of zeros but for its version. */
function blank(version: number): Uint8Array {
  const bytes = new Uint8Array(REPORT_BYTES);
  bytes[0] = version;
  return bytes;
}

/** Reserved bytes of every version: first byte and one behind the last, from AMD 56860. */
const RESERVED = [
  [0x04c, 0x050],
  [0x18b, 0x1a0],
  [0x1eb, 0x1ec],
  [0x1ef, 0x1f0],
  [0x208, 0x2a0],
  [0x2d0, 0x2e8],
  [0x318, 0x4a0],
] as const;
const RESERVED_BEFORE: Readonly<Record<number, readonly (readonly [number, number])[]>> = {
  2: [...RESERVED, [0x188, 0x18b], [0x1f8, 0x208]],
  3: [...RESERVED, [0x1f8, 0x208]],
  4: [...RESERVED, [0x1f8, 0x208]],
  5: RESERVED,
};
const versions = Object.entries(RESERVED_BEFORE).map(
  ([version, ranges]) => [Number(version), ranges] as const,
);

describe('attestation reports', () => {
  it('SN-1: have exactly one length', () => {
    for (let length = 0; length < REPORT_BYTES; length += 1) {
      expect(refusalCode(() => readReport(blank(3).subarray(0, length)))).toBe('snp-report-size');
    }
    expect(refusalCode(() => readReport(new Uint8Array(REPORT_BYTES + 1)))).toBe('snp-report-size');
  });

  it('SN-2: are of version 2 to 5', () => {
    for (const version of [0, 1, 6, 7, 255]) {
      expect(refusalCode(() => readReport(blank(version)))).toBe('snp-report-version');
    }
    const high = blank(3);
    high[3] = 1;
    expect(refusalCode(() => readReport(high))).toBe('snp-report-version');
  });

  it.each(versions)(
    'SN-3: version %i refuses every reserved byte that is set, and no other',
    (version, ranges) => {
      expect(readReport(blank(version)).version).toBe(version);
      for (let at = 4; at < REPORT_BYTES; at += 1) {
        const bytes = blank(version);
        bytes[at] = 1;
        const isReserved = ranges.some(([first, end]) => at >= first && at < end);
        const isKeyInfo = at > 0x048 && at < 0x04c;
        expect([at, refusalCode(() => readReport(bytes))]).toEqual([
          at,
          isReserved || isKeyInfo ? 'layout-reserved' : 'accepted',
        ]);
      }
    },
  );

  it('SN-3: unnamed bits of the key information are reserved', () => {
    for (let bit = 0; bit < 8; bit += 1) {
      const bytes = blank(5);
      bytes[0x48] = 1 << bit;
      expect(refusalCode(() => readReport(bytes))).toBe(bit < 5 ? 'accepted' : 'layout-reserved');
    }
  });

  it('SN-4: name the bits of POLICY and PLATFORM_INFO and keep the unnamed ones in sight', () => {
    const bytes = blank(5);
    bytes.set([0x1f, 0x01, 0x0b, 0x80], 0x08);
    bytes.set([0x67], 0x40);
    const { policy, platformInfo } = readReport(bytes);
    expect(policy).toMatchObject({
      abiMinor: 0x1f,
      abiMajor: 1,
      smtAllowed: true,
      reserved17: true,
      migrateMa: false,
      debug: true,
      singleSocket: false,
      unknownBits: 0x80000000n,
    });
    expect(platformInfo).toMatchObject({
      smtEn: true,
      aliasCheckComplete: true,
      tioEn: false,
      unknownBits: 0x40n,
    });
  });

  it('SN-1: W11: read and write are inverse', () => {
    const bytes = fc.record({
      version: fc.integer({ min: 2, max: 5 }),
      noise: fc.uint8Array({ minLength: 1184, maxLength: 1184 }),
    });
    fc.assert(
      fc.property(bytes, ({ version, noise }) => {
        noise.set([version, 0, 0, 0]);
        noise[0x48] = (noise[0x48] ?? 0) & 0x1f;
        noise.fill(0, 0x49, 0x4c);
        for (const [first, end] of RESERVED_BEFORE[version]!) noise.fill(0, first, end);
        expect(toHex(writeReport(readReport(noise)))).toBe(toHex(noise));
      }),
      { numRuns: 50 },
    );
  });

  it('W11: arbitrary bytes give a report or a refusal', () => {
    const sizes = fc.oneof(
      fc.uint8Array({ maxLength: 1300 }),
      fc.uint8Array({ minLength: 1184, maxLength: 1184 }),
    );
    fc.assert(
      fc.property(sizes, (bytes) => void refusalCode(() => readReport(bytes))),
      { numRuns: 200 },
    );
  });
});

describe('TCB versions', () => {
  const levels = Uint8Array.of(1, 2, 0, 4, 0, 0, 0, 0x47);

  it('SN-5: of Turin have other places than those before', () => {
    expect(readTcb('turin', levels, 'tcb')).toEqual({
      fmc: 1,
      bootLoader: 2,
      tee: 0,
      snp: 4,
      microcode: 0x47,
    });
    expect(refusalCode(() => readTcb('milan', levels, 'tcb'))).toBe('layout-reserved');
    const milan = Uint8Array.of(3, 0, 0, 0, 0, 0, 8, 0x73);
    expect(readTcb('milan', milan, 'tcb')).toEqual({
      fmc: undefined,
      bootLoader: 3,
      tee: 0,
      snp: 8,
      microcode: 0x73,
    });
    expect(refusalCode(() => readTcb('turin', milan, 'tcb'))).toBe('layout-reserved');
    expect(writeTcb('milan', readTcb('milan', milan, 'tcb'))).toEqual(milan);
    expect(writeTcb('turin', readTcb('turin', levels, 'tcb'))).toEqual(levels);
  });

  it('SN-6: are compared component by component', () => {
    const tcb = readTcb('turin', levels, 'tcb');
    expect(componentsBelow(tcb, tcb)).toEqual([]);
    expect(componentsBelow({ ...tcb, bootLoader: 255, snp: 3 }, tcb)).toEqual(['snp']);
    const withoutFmc = { ...tcb, fmc: undefined };
    expect(componentsBelow(withoutFmc, withoutFmc)).toEqual([]);
    expect(componentsBelow(withoutFmc, tcb)).toEqual(['fmc']);
    expect(componentsBelow(tcb, withoutFmc)).toEqual(['fmc']);
  });

  it('SN-5: have the encoding of their product line', () => {
    expect((['Milan', 'Genoa', 'Turin'] as const).map(tcbEncodingOf)).toEqual(['milan', 'milan', 'turin']);
  });

  it('are shown with the components that they have', () => {
    const tcb = readTcb('turin', levels, 'tcb');
    expect(tcbText(tcb)).toBe('fmc 1, bootLoader 2, tee 0, snp 4, microcode 71');
    expect(tcbText({ ...tcb, fmc: undefined })).toBe('bootLoader 2, tee 0, snp 4, microcode 71');
  });
});

describe('products', () => {
  it('SN-7: are those of the table and no neighbours of theirs', () => {
    const line = (family: number, model: number) =>
      refusalCode(() => productLineOf({ family, model, stepping: 0 }, 'cpuid'));
    expect(productLineOf({ family: 0x19, model: 0x01, stepping: 1 }, 'cpuid')).toBe('Milan');
    expect(productLineOf({ family: 0x19, model: 0x11, stepping: 1 }, 'cpuid')).toBe('Genoa');
    expect(productLineOf({ family: 0x19, model: 0xa0, stepping: 2 }, 'cpuid')).toBe('Genoa');
    expect(productLineOf({ family: 0x1a, model: 0x11, stepping: 0 }, 'cpuid')).toBe('Turin');
    for (const [family, model] of [
      [0x19, 0x20],
      [0x19, 0xb0],
      [0x1a, 0x12],
      [0x1a, 0x50],
      [0x18, 0x01],
      [0, 0],
    ] as const) {
      expect(line(family, model)).toBe('snp-product-unknown');
    }
    const unknown = () => productLineOf({ family: 0x19, model: 0xb0, stepping: 0 }, 'cpuid');
    expect(refusalOf(unknown)).toMatchObject({
      field: 'cpuid',
      expected: expect.stringMatching(/^family 19h model 00h-0Fh, .*, family 1Ah model 00h-11h$/) as unknown,
      found: 'family 19h model B0h',
    });
    expect(cpuidText({ family: 0x19, model: 0xa0, stepping: 2 })).toBe('19-a0-02');
  });
});
