import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  bitStringOf,
  booleanOf,
  contentOf,
  objectIdentifierOf,
  readElement,
  smallIntegerOf,
  Tag,
  timeOf,
  unsignedIntegerOf,
} from '../../../attestation/core/der.ts';
import type { DerElement } from '../../../attestation/core/der.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { readSubjectPublicKeyInfo } from '../../../attestation/core/public-key.ts';
import { toUtf8 } from '../../../attestation/core/bytes.ts';
import { refusalCode } from '../../support/refusal-code.ts';

function element(tag: number, ...content: number[]): DerElement {
  return readElement(Uint8Array.of(tag, content.length, ...content), tag, 'test');
}

const time = (tag: number, text: string): number => timeOf(element(tag, ...toUtf8(text)));

describe('DER', () => {
  it.each([
    ['an indefinite length', [0x30, 0x80, 0, 0], 'der-length'],
    ['a long form below 128', [0x30, 0x81, 0x01, 0x00], 'der-length'],
    ['a leading zero in the length', [0x30, 0x82, 0x00, 0x80], 'der-length'],
    ['a length of four bytes', [0x30, 0x84, 1, 0, 0, 0], 'der-length'],
    ['a tag of several bytes', [0x3f, 0x81, 0x01, 0], 'der-tag'],
    ['another tag', [0x31, 0], 'der-tag'],
    ['a missing byte', [0x30, 2, 5], 'der-truncated'],
    ['nothing', [], 'der-truncated'],
    ['only a tag', [0x30], 'der-truncated'],
    ['a byte too many', [0x30, 0, 0], 'der-trailing'],
  ])('EV-12: refuses %s', (_, bytes, code) => {
    expect(refusalCode(() => readElement(Uint8Array.from(bytes), Tag.sequence, 'test'))).toBe(code);
  });

  it('EV-12: refuses values that have a second spelling', () => {
    expect(refusalCode(() => booleanOf(element(Tag.boolean, 1)))).toBe('der-value');
    expect(refusalCode(() => unsignedIntegerOf(element(Tag.integer, 0, 1)))).toBe('der-value');
    expect(refusalCode(() => unsignedIntegerOf(element(Tag.integer, 0x80)))).toBe('der-value');
    expect(refusalCode(() => unsignedIntegerOf(element(Tag.integer)))).toBe('der-value');
    expect(refusalCode(() => objectIdentifierOf(element(Tag.objectIdentifier, 0x2a, 0x80, 0x01)))).toBe(
      'der-value',
    );
    expect(refusalCode(() => objectIdentifierOf(element(Tag.objectIdentifier, 0x2a, 0x81)))).toBe(
      'der-value',
    );
    expect(refusalCode(() => bitStringOf(element(Tag.bitString, 4, 0x01)))).toBe('der-value');
    expect(refusalCode(() => bitStringOf(element(Tag.bitString, 8, 0)))).toBe('der-value');
  });

  it('EV-12: reads values', () => {
    expect(booleanOf(element(Tag.boolean, 0xff))).toBe(true);
    expect(smallIntegerOf(element(Tag.integer, 0, 0x80))).toBe(128);
    expect(smallIntegerOf(element(Tag.integer, 0))).toBe(0);
    expect(objectIdentifierOf(element(Tag.objectIdentifier, 0x67, 0x81, 0x05, 0x08, 0x01))).toBe(
      '2.23.133.8.1',
    );
    expect(objectIdentifierOf(element(Tag.objectIdentifier, 0x2a, 0x86, 0x48))).toBe('1.2.840');
    // Infineon and swtpm leave trailing zero bits in keyUsage.
    expect(bitStringOf(element(Tag.bitString, 0, 0x20))).toEqual({
      unusedBits: 0,
      bytes: Uint8Array.of(0x20),
    });
  });

  it('EV-14: reads the times of RFC 5280 and no others', () => {
    expect(time(Tag.utcTime, '700101000000Z')).toBe(0);
    expect(time(Tag.utcTime, '491231235959Z')).toBe(Date.UTC(2049, 11, 31, 23, 59, 59) / 1000);
    expect(time(Tag.generalizedTime, '99991231235959Z')).toBe(253_402_300_799);
    expect(time(Tag.generalizedTime, '20240229000000Z')).toBe(Date.UTC(2024, 1, 29) / 1000);
    for (const text of [
      '20230229000000Z',
      '20240101240000Z',
      '20241301000000Z',
      '20240101000000+0000',
      '2024',
    ]) {
      expect(refusalCode(() => time(Tag.generalizedTime, text))).toBe('der-value');
    }
    expect(refusalCode(() => time(Tag.utcTime, '7001010000Z'))).toBe('der-value');
    expect(refusalCode(() => time(Tag.integer, '1'))).toBe('der-tag');
  });

  it('EV-5: deep nesting costs nothing, because nobody follows it', () => {
    const nested = Uint8Array.from({ length: 120 }, (_, i) => (i % 2 === 0 ? 0x30 : 119 - i));
    const reader = contentOf(readElement(nested, Tag.sequence, 'test'));
    expect(reader.next(Tag.sequence, 'inner').content.length).toBe(116);
  });

  it('EV-5: certificates and keys of any bytes are refused without another error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const wrapped = Uint8Array.of(0x30, 0x82, bytes.length >> 8, bytes.length & 0xff, ...bytes);
        for (const input of [bytes, wrapped]) {
          expect(refusalCode(() => readCertificate(input, 'certificate'))).not.toBe('accepted');
          expect(refusalCode(() => readSubjectPublicKeyInfo(input, 'key'))).not.toBe('accepted');
        }
      }),
      { numRuns: 1000 },
    );
  });
});
