import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { ClaimsHash, HardwareReport, readHclReport } from '../../../../attestation/sev-snp/azure/layout.ts';
import type { HclReport } from '../../../../attestation/sev-snp/azure/layout.ts';
import { writeHclReport } from '../../../../attestation/sev-snp/azure/layout.ts';
import { refusalCode, refusalOf } from '../../../support/refusal-code.ts';
import { claimsBytes, hclReportOf, runtimeClaims } from './samples.ts';

const hardwareReport = new Uint8Array(1184).fill(7);
const sample = hclReportOf(hardwareReport, claimsBytes(runtimeClaims));
const bytes = writeHclReport(sample);
const used = sample.reportSize;

/** Offsets of the integers after the hardware report. */
const At = { dataSize: 0x4c0, dataVersion: 0x4c4, reportType: 0x4c8, claimsHash: 0x4cc, claimsSize: 0x4d0 };

function edited(at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  new DataView(copy.buffer).setUint32(at, value, true);
  return copy;
}

const codeOf = (input: Uint8Array): string => refusalCode(() => readHclReport(input));

describe('HCL reports', () => {
  it('AZ-1: what is read is written again, with and without capabilities', () => {
    expect(toHex(writeHclReport(readHclReport(bytes)))).toBe(toHex(bytes));
    const later: HclReport = {
      ...sample,
      dataVersion: 2,
      capabilities: 0b101,
      dataSize: sample.dataSize + 4,
      reportSize: used + 4,
    };
    const laterBytes = writeHclReport(later);
    expect(readHclReport(laterBytes)).toMatchObject({ capabilities: 0b101, claims: sample.claims });
    expect(toHex(writeHclReport(readHclReport(laterBytes)))).toBe(toHex(laterBytes));
  });

  it('AZ-1: are refused cut at any length, and too long', () => {
    for (let length = 0; length < used; length += 1) {
      expect(codeOf(bytes.subarray(0, length))).toBe('layout-truncated');
    }
    expect(readHclReport(bytes.subarray(0, used)).padding).toHaveLength(0);
    const longest = new Uint8Array(16 * 1024);
    longest.set(bytes);
    expect(readHclReport(longest).claims).toEqual(sample.claims);
    expect(codeOf(new Uint8Array(16 * 1024 + 1))).toBe('azure-hcl-length');
  });

  it('AZ-2: have a known magic, versions, request, status and capabilities', () => {
    const wrong = bytes.slice();
    wrong[0] = 0;
    expect(codeOf(wrong)).toBe('layout-value');
    for (const version of [0, 3, 0xffffffff]) {
      expect(codeOf(edited(4, version))).toBe('layout-value');
      expect(codeOf(edited(At.dataVersion, version))).toBe('layout-value');
    }
    for (const request of [0, 1, 3]) expect(codeOf(edited(12, request))).toBe('layout-value');
    expect(codeOf(edited(16, 1))).toBe('layout-value');
    for (const at of [20, 24, 28]) expect(codeOf(edited(at, 1))).toBe('layout-reserved');
    expect(refusalCode(() => writeHclReport({ ...sample, dataVersion: 2, capabilities: 8 }))).toBe(
      'azure-hcl-size',
    );
    const unknown = { ...sample, dataVersion: 2, capabilities: 8, dataSize: sample.dataSize + 4 };
    expect(refusalCode(() => writeHclReport({ ...unknown, reportSize: used + 4 }))).toBe('layout-value');
  });

  it('AZ-3: every size is that of what it counts', () => {
    expect(refusalOf(() => readHclReport(edited(8, used + 1)))).toMatchObject({
      field: 'hclReport.reportSize',
      expected: String(used),
      found: String(used + 1),
    });
    for (const change of [-1, 1]) {
      expect(codeOf(edited(8, used + change))).toBe('azure-hcl-size');
      expect(codeOf(edited(At.dataSize, sample.dataSize + change))).toBe('azure-hcl-size');
      expect(codeOf(edited(At.claimsSize, sample.claimsSize + change))).toBe('azure-hcl-size');
    }
    for (const at of [8, At.dataSize, At.claimsSize]) {
      expect(codeOf(edited(at, 0xffffffff))).toBe('layout-value');
    }
  });

  it('AZ-4: other hardware and other hashes have codes of their own', () => {
    for (const type of [0, HardwareReport.vbs, HardwareReport.trustedVm, HardwareReport.tdx, 5]) {
      expect(codeOf(edited(At.reportType, type))).toBe('azure-hcl-hardware');
    }
    for (const hash of [0, ClaimsHash.sha384, ClaimsHash.sha512, 4]) {
      expect(codeOf(edited(At.claimsHash, hash))).toBe('azure-hcl-hash');
    }
  });

  it('AZ-3, AZ-4: are not written with a size or a kind with which they would not be read', () => {
    const written = (change: Partial<HclReport>) => refusalOf(() => writeHclReport({ ...sample, ...change }));
    expect(written({ reportType: HardwareReport.tdx }).code).toBe('azure-hcl-hardware');
    expect(written({ claimsHash: ClaimsHash.sha384 }).code).toBe('azure-hcl-hash');
    expect(written({ claimsSize: sample.claimsSize + 1 })).toMatchObject({
      code: 'azure-hcl-size',
      field: 'hclReport.claimsSize',
    });
  });

  it('AZ-5: every byte of the padding is zero', () => {
    for (let at = used; at < bytes.length; at += 1) {
      const copy = bytes.slice();
      copy[at] = 0x80;
      expect(codeOf(copy)).toBe('azure-hcl-padding');
    }
  });

  it('AZ-1: arbitrary bytes are refused or are written again as they were', () => {
    const start = fc.constantFrom(bytes, bytes.subarray(0, used), toUtf8('HCLA'), new Uint8Array(0));
    const inputs = fc.tuple(start, fc.nat(bytes.length), fc.uint8Array({ maxLength: 64 }));
    fc.assert(
      fc.property(inputs, ([base, at, splice]) => {
        const input = new Uint8Array([
          ...base.subarray(0, at),
          ...splice,
          ...base.subarray(at + splice.length),
        ]);
        const code = codeOf(input);
        if (code === 'accepted') expect(toHex(writeHclReport(readHclReport(input)))).toBe(toHex(input));
        else expect(code).toMatch(/^(?:azure-hcl|layout)-/);
      }),
      { numRuns: 500 },
    );
  });
});
