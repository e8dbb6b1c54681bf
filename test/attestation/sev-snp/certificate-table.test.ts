import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes } from '../../../attestation/core/bytes.ts';
import { readPem, writePem } from '../../../attestation/core/pem.ts';
import {
  CertificateGuid,
  certificateDer,
  MAX_CERTIFICATE_BYTES,
  MAX_TABLE_BYTES,
  readCertificateTable,
  writeCertificateTable,
} from '../../../attestation/sev-snp/certificate-table.ts';
import type { CertificateTableEntry } from '../../../attestation/sev-snp/certificate-table.ts';
import { refusalCode } from '../../support/refusal-code.ts';

const entries: readonly CertificateTableEntry[] = [
  { guid: CertificateGuid.ark, content: Uint8Array.of(1, 2, 3) },
  { guid: CertificateGuid.vcek, content: Uint8Array.of(4, 5) },
];
const good = writeCertificateTable(entries);

/** The good table with a 32-bit number of one entry changed. */
function edited(entry: number, member: 'offset' | 'length', value: number): Uint8Array {
  const bytes = good.slice();
  new DataView(bytes.buffer).setUint32(24 * entry + (member === 'offset' ? 16 : 20), value, true);
  return bytes;
}

const code = (bytes: Uint8Array): string => refusalCode(() => readCertificateTable(bytes, 'table'));

describe('certificate tables', () => {
  it('SN-12: read what they write, in the order of the header', () => {
    expect(readCertificateTable(good, 'table')).toEqual(entries);
    expect(readCertificateTable(new Uint8Array(0), 'table')).toEqual([]);
    expect(readCertificateTable(new Uint8Array(24), 'table')).toEqual([]);
    expect(readCertificateTable(concatBytes(good, new Uint8Array(4096)), 'table')).toEqual(entries);
  });

  it('SN-12: may have their contents in another order than their header', () => {
    const swapped = concatBytes(good.subarray(24, 48), good.subarray(0, 24), good.subarray(48));
    expect(readCertificateTable(swapped, 'table')).toEqual(entries.toReversed());
  });

  it('SN-12: have 65536 bytes at most', () => {
    const padded = (length: number) => concatBytes(good, new Uint8Array(length - good.length));
    expect(readCertificateTable(padded(MAX_TABLE_BYTES), 'table')).toEqual(entries);
    expect(code(padded(MAX_TABLE_BYTES + 1))).toBe('snp-table-size');
  });

  it('SN-12: refuse entries outside, in the header, in each other, empty or twice', () => {
    expect(code(edited(0, 'offset', 0))).toBe('snp-table-bounds');
    expect(code(edited(0, 'offset', 71))).toBe('snp-table-bounds');
    expect(code(edited(0, 'offset', 0xfffffff0))).toBe('snp-table-bounds');
    expect(code(edited(1, 'length', 3))).toBe('snp-table-bounds');
    expect(code(edited(1, 'length', 0xffffffff))).toBe('snp-table-bounds');
    expect(code(edited(1, 'length', 0))).toBe('snp-table-bounds');
    expect(code(edited(0, 'length', 4))).toBe('snp-table-bounds');
    expect(code(edited(0, 'length', 2))).toBe('snp-table-stray');
    expect(code(writeCertificateTable([...entries, entries[0]!]))).toBe('snp-table-repeated');
  });

  it('SN-12: refuse a missing end, bytes that belong to nobody, and what is too large', () => {
    for (let length = 1; length < good.length; length += 1) {
      const found = code(good.subarray(0, length));
      expect([length, found]).toEqual([length, length < 72 ? 'snp-table-truncated' : 'snp-table-bounds']);
    }
    expect(code(concatBytes(good, Uint8Array.of(1)))).toBe('snp-table-stray');
    const many = Array.from({ length: 10_000 }, (_, i) => ({
      guid: i.toString(16).padStart(32, '1'),
      content: Uint8Array.of(1),
    }));
    expect(code(writeCertificateTable(many))).toBe('snp-table-size');
    expect(code(writeCertificateTable(many.slice(0, 17)))).toBe('snp-table-size');
    expect(code(writeCertificateTable(many.slice(0, 16)))).toBe('accepted');
    expect(code(new Uint8Array(MAX_TABLE_BYTES + 1))).toBe('snp-table-size');
  });

  it('W11: arbitrary and damaged tables give entries inside the table or a refusal', () => {
    const damaged = fc
      .array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { maxLength: 4 })
      .map((edits) => {
        const bytes = good.slice();
        for (const [at, value] of edits) bytes[at] = value;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        const outcome = code(bytes);
        if (outcome !== 'accepted') return;
        const read = readCertificateTable(bytes, 'table');
        expect(read.every(({ content }) => content.length > 0 && content.buffer === bytes.buffer)).toBe(true);
      }),
    );
  });
});

describe('certificates in a table', () => {
  const der = Uint8Array.from({ length: 100 }, (_, i) => i);

  it('SN-13: stand as DER or as one strict PEM block', () => {
    expect(certificateDer(der, 'x')).toEqual(der);
    const pem = writePem(der, 'CERTIFICATE');
    expect(certificateDer(pem, 'x')).toEqual(der);
    expect(
      readPem(Buffer.from(Buffer.from(pem).toString().replaceAll('\n', '\r\n')), 'CERTIFICATE', 'x'),
    ).toEqual(der);
    const text = Buffer.from(pem).toString();
    for (const wrong of [
      text + text,
      `${text} `,
      text.replaceAll('CERTIFICATE', 'KEY'),
      text.replace('\n', '\n\n'),
    ]) {
      expect(refusalCode(() => certificateDer(Buffer.from(wrong), 'x'))).toBe('pem-malformed');
    }
    expect(refusalCode(() => certificateDer(Buffer.from(text.replace('AAEC', 'AA*C')), 'x'))).toBe(
      'base64-malformed',
    );
  });

  it('SN-13: are refused by length before anything is read', () => {
    expect(refusalCode(() => certificateDer(new Uint8Array(MAX_CERTIFICATE_BYTES), 'x'))).toBe('accepted');
    expect(refusalCode(() => certificateDer(new Uint8Array(MAX_CERTIFICATE_BYTES + 1), 'x'))).toBe(
      'snp-certificate-size',
    );
    expect(refusalCode(() => certificateDer(new Uint8Array(100 * 1024 * 1024), 'x'))).toBe(
      'snp-certificate-size',
    );
  });
});
