import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  bitStringOf,
  booleanOf,
  byteStringOf,
  contentOf,
  contextTag,
  objectIdentifierOf,
  readElement,
  readFirstElement,
  smallIntegerOf,
  Tag,
  textOf,
  timeOf,
  unsignedIntegerOf,
} from '../../../attestation/core/der.ts';
import type { DerElement } from '../../../attestation/core/der.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { readSubjectPublicKeyInfo } from '../../../attestation/core/public-key.ts';
import { toUtf8 } from '../../../attestation/core/bytes.ts';
import { bitString, identifier, octetString, sequence } from '../../support/der-writer.ts';
import { refusalCode, refusalOf } from '../../support/refusal-code.ts';

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

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('elements of DER', () => {
  it.each([
    [[0x30, 0x80, 0, 0], 'a definite length in shortest form', '0x80'],
    [[0x30, 0x84, 1, 0, 0, 0], 'a definite length in shortest form', '0x84'],
    [[0x30, 0x81, 0x7f], 'a definite length in shortest form', '7f'],
    [[0x30, 0x82, 0x00, 0x80], 'a definite length in shortest form', '0080'],
    [[0x3f, 0x81, 0x01, 0], 'a tag of one byte', '0x3f'],
    [[0x05, 0], '0x30', '0x05'],
    [[], 'an element', 'no byte'],
    [[0x30], 'a length', 'no byte'],
    [[0x30, 0x82, 1], 'a length of 2 bytes', '1 bytes'],
    [[0x30, 4, 5], '4 bytes', '1 bytes'],
    [[0x30, 0x81, 0x80, 5], '128 bytes', '1 bytes'],
    [[0x30, 1, 5, 0, 0], '3 bytes', '5 bytes'],
  ])('EV-12: %j is refused with what was expected and found', (bytes, expected, found) => {
    const refusal = refusalOf(() => readElement(Uint8Array.from(bytes), Tag.sequence, 'test'));
    expect(refusal).toMatchObject({ field: 'test', expected, found });
  });

  it.each([0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff])('EV-12: a length of %i has one form', (length) => {
    const content = new Uint8Array(length).fill(1);
    const bytes = octetString(content);
    const read = readElement(bytes, Tag.octetString, 'test');
    expect(read).toMatchObject({ tag: Tag.octetString, path: 'test' });
    expect([read.content.length, read.encoded.length]).toEqual([length, bytes.length]);
  });

  it('EV-12: a length of three bytes is the longest', () => {
    const bytes = new Uint8Array(5 + 0x010000);
    bytes.set([0x04, 0x83, 1, 0, 0]);
    expect(readElement(bytes, Tag.octetString, 'test').content.length).toBe(0x010000);
  });

  it('reads the first element of a longer input, and no other type', () => {
    const bytes = Uint8Array.of(0x30, 1, 9, 0xff, 0xff);
    expect(readFirstElement(bytes, Tag.sequence, 'test').encoded).toEqual(bytes.subarray(0, 3));
    expect(refusalOf(() => readFirstElement(bytes, Tag.set, 'area'))).toMatchObject({
      code: 'der-tag',
      field: 'area',
      expected: '0x31',
      found: '0x30',
    });
  });

  it('names the tags of context-specific types', () => {
    expect([contextTag(3, 'constructed'), contextTag(3, 'primitive')]).toEqual([0xa3, 0x83]);
  });
});

describe('a reader of elements', () => {
  const reader = () =>
    contentOf(readElement(sequence(octetString(Uint8Array.of(1)), bitString(Uint8Array.of(2))), 0x30, 'x'));

  it('takes one after another to the end', () => {
    const elements = reader();
    expect(elements.isAtEnd).toBe(false);
    expect(elements.optional(Tag.bitString, 'a')).toBeUndefined();
    expect(elements.next(Tag.octetString, 'a')).toMatchObject({ path: 'x.a', content: Uint8Array.of(1) });
    expect(elements.optional(Tag.bitString, 'b')).toMatchObject({ path: 'x.b' });
    expect(elements.isAtEnd).toBe(true);
    expect(elements.optional(Tag.bitString, 'c')).toBeUndefined();
    elements.end();
    expect(refusalOf(() => elements.any('c'))).toMatchObject({ code: 'der-truncated', field: 'x.c' });
  });

  it('takes elements of any type', () => {
    const elements = reader();
    expect(elements.any('a').tag).toBe(Tag.octetString);
    expect(elements.any('b')).toMatchObject({ tag: Tag.bitString, path: 'x.b' });
    expect(elements.isAtEnd).toBe(true);
  });

  it('refuses another type and what is left', () => {
    const elements = reader();
    expect(refusalOf(() => elements.next(Tag.integer, 'a'))).toMatchObject({
      code: 'der-tag',
      field: 'x.a',
      expected: '0x02',
      found: '0x04',
    });
    elements.next(Tag.octetString, 'a');
    const end = (): void => {
      elements.end();
    };
    expect(refusalOf(end)).toMatchObject({
      code: 'der-trailing',
      field: 'x',
      expected: '3 bytes',
      found: '7 bytes',
    });
  });
});

describe('values of DER', () => {
  it.each([
    ['a BOOLEAN', () => booleanOf(element(Tag.boolean))],
    ['a BOOLEAN', () => booleanOf(element(Tag.boolean, 0xff, 0xff))],
    ['a BOOLEAN', () => booleanOf(element(Tag.boolean, 0, 0))],
    ['an INTEGER', () => unsignedIntegerOf(element(Tag.integer, 0, 0))],
    ['an INTEGER', () => unsignedIntegerOf(element(Tag.integer, 0, 0x7f))],
    ['an INTEGER', () => unsignedIntegerOf(element(Tag.integer, 0xff))],
    ['a small INTEGER', () => smallIntegerOf(element(Tag.integer, 1, 0, 0, 0, 0))],
    ['a BIT STRING', () => bitStringOf(element(Tag.bitString))],
    ['a BIT STRING', () => bitStringOf(element(Tag.bitString, 1))],
    ['a BIT STRING', () => bitStringOf(element(Tag.bitString, 1, 0x01))],
    ['a BIT STRING', () => bitStringOf(element(Tag.bitString, 7, 0x40))],
    ['a BIT STRING', () => bitStringOf(element(Tag.bitString, 2, 0, 0x02))],
    ['a BIT STRING of bytes', () => byteStringOf(element(Tag.bitString, 1, 0xfe))],
    ['an OBJECT IDENTIFIER', () => objectIdentifierOf(element(Tag.objectIdentifier))],
    ['an OBJECT IDENTIFIER', () => objectIdentifierOf(element(Tag.objectIdentifier, 0x80, 0x01))],
    [
      'an OBJECT IDENTIFIER',
      () => objectIdentifierOf(element(Tag.objectIdentifier, ...new Uint8Array(65).fill(1))),
    ],
  ])('EV-12: %s of another spelling is refused: %s', (_, read) => {
    expect(refusalOf(read)).toMatchObject({ code: 'der-value', field: 'test' });
  });

  it('EV-12: a refusal shows the first 32 bytes', () => {
    const content = new Uint8Array(40).fill(0x81);
    const { found } = refusalOf(() => unsignedIntegerOf(element(Tag.integer, ...content)));
    expect(found).toBe('81'.repeat(32));
  });

  it('EV-12: integers are read at the ends of their ranges', () => {
    const magnitude = (...content: number[]): string =>
      hexOf(unsignedIntegerOf(element(Tag.integer, ...content)));
    expect(magnitude(0)).toBe('00');
    expect(magnitude(0x7f)).toBe('7f');
    expect(magnitude(0, 0x80)).toBe('80');
    expect(magnitude(1, 0)).toBe('0100');
    expect(smallIntegerOf(element(Tag.integer, 1, 2))).toBe(0x0102);
    expect(smallIntegerOf(element(Tag.integer, 0, 0xff, 0xff, 0xff, 0xff))).toBe(0xffffffff);
  });

  it('EV-12: bit strings are read with the bits that they do not use', () => {
    const bits = (...content: number[]) => bitStringOf(element(Tag.bitString, ...content));
    expect(bits(0)).toEqual({ unusedBits: 0, bytes: new Uint8Array(0) });
    expect(bits(7, 0x80)).toEqual({ unusedBits: 7, bytes: Uint8Array.of(0x80) });
    expect(bits(1, 0xff, 0xfe)).toEqual({ unusedBits: 1, bytes: Uint8Array.of(0xff, 0xfe) });
    expect(byteStringOf(element(Tag.bitString, 0, 0xaa))).toEqual(Uint8Array.of(0xaa));
    expect(booleanOf(element(Tag.boolean, 0))).toBe(false);
  });

  it.each([
    ['0.9', [0x09]],
    ['0.39', [0x27]],
    ['1.0', [0x28]],
    ['1.39', [0x4f]],
    ['2.0', [0x50]],
    ['2.999', [0x88, 0x37]],
    ['1.2.16384', [0x2a, 0x81, 0x80, 0x00]],
    ['1.2.127.128', [0x2a, 0x7f, 0x81, 0x00]],
  ])('EV-12: %s is read', (dotted, content) => {
    expect(objectIdentifierOf(element(Tag.objectIdentifier, ...content))).toBe(dotted);
  });

  it('EV-12: an identifier may have 64 bytes', () => {
    const content = new Uint8Array(64).fill(1);
    expect(objectIdentifierOf(element(Tag.objectIdentifier, ...content))).toBe(`0.1${'.1'.repeat(63)}`);
    const written = readElement(identifier('2.16.840.1.101.3.4.2.1'), Tag.objectIdentifier, 'test');
    expect(objectIdentifierOf(written)).toBe('2.16.840.1.101.3.4.2.1');
  });

  it.each([
    ['20240101006000Z', Tag.generalizedTime],
    ['20240101000060Z', Tag.generalizedTime],
    ['20240100000000Z', Tag.generalizedTime],
    ['20240001000000Z', Tag.generalizedTime],
    ['20240431000000Z', Tag.generalizedTime],
    ['x20240101000000Z', Tag.generalizedTime],
    ['20240101000000Zx', Tag.generalizedTime],
    ['20240101000000z', Tag.generalizedTime],
    ['2024010100000aZ', Tag.generalizedTime],
    ['240101000000Z', Tag.generalizedTime],
    ['x240101000000Z', Tag.utcTime],
    ['240101000000Zx', Tag.utcTime],
    ['240101000060Z', Tag.utcTime],
    ['20240101000000Z', Tag.utcTime],
  ])('EV-14: %s is no time', (text, tag) => {
    expect(refusalOf(() => time(tag, text))).toMatchObject({ code: 'der-value', field: 'test' });
  });

  it('EV-14: times are read at the ends of their ranges', () => {
    expect(time(Tag.utcTime, '500101000000Z')).toBe(Date.UTC(1950, 0) / 1000);
    expect(time(Tag.utcTime, '240229235959Z')).toBe(Date.UTC(2024, 1, 29, 23, 59, 59) / 1000);
    expect(time(Tag.generalizedTime, '20241231010203Z')).toBe(Date.UTC(2024, 11, 31, 1, 2, 3) / 1000);
    expect(time(Tag.generalizedTime, '00010101000000Z')).toBe(-62_135_596_800);
    expect(refusalOf(() => time(Tag.integer, '1'))).toMatchObject({ field: 'test', found: '0x02' });
  });

  it('reads texts of three types and in UTF-8', () => {
    for (const tag of [Tag.utf8String, Tag.printableString, Tag.ia5String]) {
      expect(textOf(element(tag, 0x41, 0x42))).toBe('AB');
    }
    expect(refusalOf(() => textOf(element(Tag.octetString, 0x41)))).toMatchObject({
      code: 'der-tag',
      field: 'test',
      found: '0x04',
    });
    expect(refusalOf(() => textOf(element(Tag.utf8String, 0xff)))).toMatchObject({
      code: 'utf8-malformed',
      field: 'test',
    });
  });
});
