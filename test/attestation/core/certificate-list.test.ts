import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { readCertificateList } from '../../../attestation/core/certificate-list.ts';
import { refusalCode } from '../../support/refusal-code.ts';

const code = (bytes: Uint8Array): string => refusalCode(() => readCertificateList(bytes, 'crl'));
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

/** A small list with a signature algorithm, an empty name, one entry and the number 5; its signature is one byte. */
const ALGORITHM = '300a 06082a8648ce3d040303';
const TIMES = '170d3236303130313030303030305a 170d3236303230313030303030305a';
const ENTRY = '3012 020101 170d3236303130313030303030305a';
const NUMBER = 'a00e 300c 300a 0603551d14 0403020105';

function sized(tag: string, content: string): string {
  const bytes = content.replaceAll(' ', '');
  return `${tag}${(bytes.length / 2).toString(16).padStart(2, '0')}${bytes}`;
}

const listOf = (tbs: string, algorithm = ALGORITHM): Uint8Array =>
  hex(sized('30', `${sized('30', tbs)} ${algorithm} 030200aa`));
const members = (entries: string, extensions = NUMBER, version = '020101'): string =>
  `${version} ${ALGORITHM} 3000 ${TIMES} ${entries} ${extensions}`;

describe('revocation lists', () => {
  it('are read', () => {
    const list = readCertificateList(listOf(members(sized('30', ENTRY))), 'crl');
    expect([...list.revoked]).toEqual(['01']);
    expect(list.number).toBe(5);
    expect(list.thisUpdate).toBe(Date.parse('2026-01-01T00:00:00Z') / 1000);
    expect(list.nextUpdate).toBe(Date.parse('2026-02-01T00:00:00Z') / 1000);
    expect(list.signatureScheme).toEqual({ algorithm: 'ecdsa', hash: 'SHA-384' });
    expect(readCertificateList(listOf(members('')), 'crl').revoked.size).toBe(0);
  });

  it('W11: are refused when another reader could understand them differently', () => {
    expect(code(listOf(members('3000')))).toBe('crl-malformed');
    expect(code(listOf(members('', NUMBER, '020100')))).toBe('crl-malformed');
    expect(code(listOf(members('', 'a00e 300c 300a 0603551d15 0403020105')))).toBe('crl-malformed');
    expect(code(listOf(members('', 'a011 300f 300d 0603551d14 0406020401020304')))).toBe('accepted');
    expect(code(listOf(members('', 'a014 3012 3010 0603551d14 0409020701020304050607')))).toBe(
      'crl-malformed',
    );
    expect(code(listOf(members(''), '300a 06082a8648ce3d040302'))).toBe('crl-malformed');
    expect(code(listOf(`${members('')} 0500`))).toBe('der-trailing');
    expect(code(listOf(members('', '')))).toBe('der-truncated');
  });

  it('W11: arbitrary and damaged bytes give a list or a refusal', () => {
    const good = listOf(members(sized('30', ENTRY)));
    const damaged = fc
      .array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { maxLength: 3 })
      .map((edits) => {
        const bytes = good.slice();
        for (const [at, value] of edits) bytes[at] = value;
        return bytes;
      });
    const cut = fc.nat({ max: good.length - 1 }).map((length) => good.subarray(0, length));
    fc.assert(
      fc.property(cut, (bytes) => {
        expect(code(bytes)).toMatch(/^der-/);
      }),
    );
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        expect(code(bytes)).toMatch(/^(?:accepted|der-|crl-|certificate-)/);
      }),
      { numRuns: 300 },
    );
  });
});
