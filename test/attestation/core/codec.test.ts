import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fromBase64, fromHex, fromUtf8, toBase64, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { decodeCanonicalJson, encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import {
  base64Shape,
  booleanShape,
  hexShape,
  integerShape,
  listShape,
  literalShape,
  mapShape,
  nullableShape,
  objectShape,
  textShape,
} from '../../../attestation/core/json-shape.ts';
import {
  bigEndian,
  constantBytes,
  counted,
  decode,
  encode,
  fixedBytes,
  itemsToEnd,
  littleEndian,
  reserved,
  sized,
  sizedBytes,
  structure,
  variants,
} from '../../../attestation/core/layout.ts';
import type { Layout } from '../../../attestation/core/layout.ts';
import { refusalCode } from '../../support/refusal-code.ts';

describe('texts of bytes', () => {
  it('W11: hex and base64 read back what they write', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(fromHex(toHex(bytes), 'x')).toEqual(bytes);
        expect(fromBase64(toBase64(bytes), 'x')).toEqual(bytes);
        expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString('base64'));
      }),
    );
  });

  it('W11: may be of many megabytes', () => {
    const bytes = new Uint8Array(8 * 1024 * 1024).fill(7);
    expect(fromBase64(toBase64(bytes), 'x').length).toBe(bytes.length);
    expect(refusalCode(() => fromHex(`${'ab'.repeat(bytes.length)}x`, 'x'))).toBe('hex-malformed');
  });

  it('W11: have one spelling each', () => {
    for (const text of ['AB', 'a', '0x00', ' ab', 'ag']) {
      expect(refusalCode(() => fromHex(text, 'x'))).toBe('hex-malformed');
    }
    for (const text of ['AA', 'AB==', 'AAB=', 'AA==\n', 'A-_=', '=AAA', 'A===']) {
      expect(refusalCode(() => fromBase64(text, 'x'))).toBe('base64-malformed');
    }
    expect(refusalCode(() => fromUtf8(Uint8Array.of(0xc0, 0x80), 'x'))).toBe('utf8-malformed');
  });
});

describe('canonical JSON', () => {
  it('W11: reads what it writes and nothing else', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const bytes = toUtf8(text);
        const code = refusalCode(() => {
          const value = decodeCanonicalJson(bytes, { maxBytes: 1000 }, 'x');
          expect(encodeCanonicalJson(value)).toEqual(bytes);
        });
        expect(code).toMatch(/^(?:accepted|json-.*|utf8-.*)$/);
      }),
    );
    const code = (text: string): string =>
      refusalCode(() => decodeCanonicalJson(toUtf8(text), { maxBytes: 1000 }, 'x'));
    expect(code('{"a":1,"b":[true,null,"x"]}')).toBe('accepted');
    for (const text of ['{"b":1,"a":1}', '{"a":1,"a":1}', '[1.0]', '[-0]', '["\\u0061"]', ' 1', '[1e2]']) {
      expect({ text, code: code(text) }).toEqual({ text, code: 'json-not-canonical' });
    }
    for (const text of ['[0.5]', '[9007199254740992]', '["\\ud800"]', '[1', '[1e999]']) {
      expect({ text, code: code(text) }).toEqual({ text, code: 'json-malformed' });
    }
    expect(code(`${'['.repeat(40)}${']'.repeat(40)}`)).toBe('json-malformed');
  });
});

describe('JSON shapes', () => {
  const shape = objectShape({
    count: integerShape({ min: 1, max: 9 }),
    kind: literalShape('a', 'b'),
    flag: booleanShape,
    bytes: base64Shape({ maxBytes: 3 }),
    digest: nullableShape(hexShape({ bytes: [2] })),
    list: listShape({ minItems: 1, maxItems: 2 }, textShape({ pattern: /^[a-z]$/ })),
    map: mapShape({ name: /^[0-9]$/, maxMembers: 1 }, booleanShape),
  });
  const good = {
    count: 1,
    kind: 'a',
    flag: true,
    bytes: 'AAAA',
    digest: 'abcd',
    list: ['x'],
    map: { 1: false },
  };

  it('W11: reads what is declared', () => {
    expect(shape(good, 'x')).toMatchObject({ count: 1, kind: 'a', digest: Uint8Array.of(0xab, 0xcd) });
    expect(shape({ ...good, digest: null }, 'x').digest).toBeNull();
    expect(shape(good, 'x').map).toEqual(new Map([['1', false]]));
  });

  it.each([
    [{ ...good, other: 1 }, 'shape-member'],
    [{ ...good, toString: 1 }, 'shape-member'],
    [{ count: 1 }, 'shape-member'],
    [[], 'shape-value'],
    [null, 'shape-value'],
    [{ ...good, count: 0 }, 'shape-value'],
    [{ ...good, count: 10 }, 'shape-value'],
    [{ ...good, count: '1' }, 'shape-value'],
    [{ ...good, kind: 'c' }, 'shape-value'],
    [{ ...good, flag: 1 }, 'shape-value'],
    [{ ...good, bytes: 'AAAAAAAA' }, 'shape-value'],
    [{ ...good, bytes: '!!!!' }, 'base64-malformed'],
    [{ ...good, digest: 'abc' }, 'shape-value'],
    [{ ...good, digest: 'ABCD' }, 'hex-malformed'],
    [{ ...good, list: [] }, 'shape-value'],
    [{ ...good, list: ['x', 'y', 'z'] }, 'shape-value'],
    [{ ...good, list: ['X'] }, 'shape-value'],
    [{ ...good, map: { 1: true, 2: true } }, 'shape-value'],
    [{ ...good, map: { a: true } }, 'shape-value'],
  ] as readonly (readonly [JsonValue, string])[])('W11: refuses %j', (value, code) => {
    expect(refusalCode(() => shape(value, 'x'))).toBe(code);
  });
});

describe('layouts', () => {
  const { u8, u16, u32, u64 } = bigEndian;
  const layout = structure({
    magic: constantBytes(Uint8Array.of(1, 2)),
    kind: u8({ oneOf: [1, 2] }),
    flags: u16({ knownBits: 0x00ff }),
    gap: reserved(2),
    little: littleEndian.u32(),
    large: u64({ max: 5n }),
    items: counted(u8({ max: 2 }), fixedBytes(2)),
    text: sizedBytes(u8()),
    inner: sized(u8(), structure({ value: u32() })),
    variant: variants('tag', u8(), { 1: { a: u8() }, 2: {} }),
  });
  const value = {
    magic: Uint8Array.of(1, 2),
    kind: 2,
    flags: 0x81,
    little: 0x01020304,
    large: 5n,
    items: [Uint8Array.of(7, 8)],
    text: Uint8Array.of(9),
    inner: { value: 1 },
    variant: { tag: 1 as const, a: 3 },
  };
  const good = Uint8Array.of(
    1,
    2,
    2,
    0,
    0x81,
    0,
    0,
    4,
    3,
    2,
    1,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    5,
    1,
    7,
    8,
    1,
    9,
    4,
    0,
    0,
    0,
    1,
    1,
    3,
  );

  it('W11: write and read the same bytes', () => {
    expect(encode(layout, value, 'x')).toEqual(good);
    expect(decode(layout, good, 'x')).toEqual(value);
  });

  it('W11: take items as far as the enclosing input goes, and none in part', () => {
    const list = sized(littleEndian.u24({ max: 7 }), itemsToEnd(structure({ a: u8(), b: u16() })));
    const bytes = Uint8Array.of(6, 0, 0, 1, 0, 2, 3, 0, 4);
    const items = [
      { a: 1, b: 2 },
      { a: 3, b: 4 },
    ];
    expect(decode(list, bytes, 'x')).toEqual(items);
    expect(encode(list, items, 'x')).toEqual(bytes);
    expect(decode(list, Uint8Array.of(0, 0, 0), 'x')).toEqual([]);
    expect(refusalCode(() => decode(list, Uint8Array.of(7, ...bytes.subarray(1), 5), 'x'))).toBe(
      'layout-truncated',
    );
    expect(refusalCode(() => decode(list, Uint8Array.of(6, 0, 1), 'x'))).toBe('layout-value');
  });

  it.each([
    ['magic', 0, 9, 'layout-value'],
    ['kind', 2, 3, 'layout-value'],
    ['flags', 3, 1, 'layout-value'],
    ['gap', 5, 1, 'layout-reserved'],
    ['large', 18, 6, 'layout-value'],
    ['items', 19, 3, 'layout-value'],
    ['inner', 24, 5, 'layout-trailing'],
    ['inner', 24, 3, 'layout-truncated'],
    ['variant', 29, 9, 'layout-value'],
    ['variant', 29, 2, 'layout-trailing'],
  ])('W11: refuse a bad %s at %i', (_, at, byte, code) => {
    const bytes = Uint8Array.from(good, (old, i) => (i === at ? byte : old));
    expect(refusalCode(() => decode(layout, bytes, 'x'))).toBe(code);
  });

  it('W11: refuse every cut and an appended byte', () => {
    for (let length = 0; length < good.length; length += 1) {
      expect(refusalCode(() => decode(layout, good.subarray(0, length), 'x'))).toBe('layout-truncated');
    }
    expect(refusalCode(() => decode(layout, Uint8Array.of(...good, 0), 'x'))).toBe('layout-trailing');
  });

  it('W11: write under the constraints under which they read', () => {
    const code = (changes: Partial<typeof value>): string =>
      refusalCode(() => encode(layout as Layout<unknown>, { ...value, ...changes }, 'x'));
    expect(code({ kind: 3 })).toBe('layout-value');
    expect(code({ flags: 0x100 })).toBe('layout-value');
    expect(code({ little: 2 ** 32 })).toBe('layout-value');
    expect(code({ large: 6n })).toBe('layout-value');
    expect(code({ large: -1n })).toBe('layout-value');
    expect(code({ items: [Uint8Array.of(1)] })).toBe('layout-value');
    expect(code({ text: new Uint8Array(256) })).toBe('layout-value');
  });
});
