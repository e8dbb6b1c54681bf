import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  concatBytes,
  equalBytes,
  excerpt,
  fromBase64,
  fromHex,
  fromUtf8,
  isZero,
  toBase64,
  toHex,
  toUtf8,
} from '../../../attestation/core/bytes.ts';
import { decodeCanonicalJson, encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import {
  anyShape,
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
  dependent,
  encode,
  fixedBytes,
  itemsToEnd,
  littleEndian,
  refuseTag,
  remainingBytes,
  reserved,
  sized,
  sizedBytes,
  structure,
  variants,
} from '../../../attestation/core/layout.ts';
import type { Layout } from '../../../attestation/core/layout.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { refusalCode, refusalOf } from '../../support/refusal-code.ts';

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

/** What was thrown behind a refusal. */
function causeOf(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    if (isRefusal(error)) return error.cause;
  }
  return undefined;
}

describe('refusals of texts', () => {
  it('W11: show what was found and where', () => {
    const facts = { field: 'a.b', found: 'AB' };
    expect(refusalOf(() => fromHex('AB', 'a.b'))).toMatchObject({ code: 'hex-malformed', ...facts });
    expect(refusalOf(() => fromBase64('AB', 'a.b'))).toMatchObject({ code: 'base64-malformed', ...facts });
    const malformed = (): string => fromUtf8(Uint8Array.of(0x41, 0xff), 'a.b');
    expect(refusalOf(malformed)).toMatchObject({ field: 'a.b', found: '2 bytes that are not' });
    expect(causeOf(malformed)).toBeInstanceOf(TypeError);
  });

  it('show texts of others in 64 printable characters', () => {
    expect(excerpt('a'.repeat(64))).toBe('a'.repeat(64));
    expect(excerpt('a'.repeat(65))).toBe(`${'a'.repeat(64)}… (65 characters)`);
    expect(excerpt(' ~\x1f\x7f\u20ac\n')).toBe(' ~????');
  });
});

describe('bytes', () => {
  it('W11: have one base64 each, also where the last digit has unused bits', () => {
    expect(fromBase64('AQ==', 'x')).toEqual(Uint8Array.of(1));
    expect(fromBase64('AQI=', 'x')).toEqual(Uint8Array.of(1, 2));
    expect(fromBase64('', 'x')).toEqual(new Uint8Array(0));
    for (const text of ['AE==', 'AI==', 'AQJ=', 'AQK_', '====']) {
      expect({ text, code: refusalCode(() => fromBase64(text, 'x')) }).toEqual({
        text,
        code: 'base64-malformed',
      });
    }
  });

  it('W11: are text with the mark that it begins with', () => {
    expect(fromUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x41), 'x')).toBe('\ufeffA');
  });

  it('are compared whole', () => {
    const bytes = Uint8Array.of(1, 2, 3);
    expect(equalBytes(bytes, Uint8Array.of(1, 2, 3))).toBe(true);
    for (const other of [
      [1, 2],
      [1, 2, 3, 0],
      [1, 2, 4],
      [0, 2, 3],
      [2, 1, 3],
    ]) {
      expect(equalBytes(bytes, Uint8Array.from(other))).toBe(false);
    }
    expect([[], [0, 0], [0, 1], [1, 0]].map((values) => isZero(Uint8Array.from(values)))).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(concatBytes(bytes, new Uint8Array(0), Uint8Array.of(4))).toEqual(Uint8Array.of(1, 2, 3, 4));
  });
});

describe('refusals of canonical JSON', () => {
  const read = (text: string, maxBytes = 1000): JsonValue =>
    decodeCanonicalJson(toUtf8(text), { maxBytes }, 'doc');

  it('W11: begin above the bound of the reader', () => {
    expect(read('[1,2]', 5)).toEqual([1, 2]);
    expect(refusalOf(() => read('[1,2]', 4))).toMatchObject({
      code: 'json-too-large',
      field: 'doc',
      expected: 'at most 4 bytes',
      found: '5 bytes',
    });
  });

  it('W11: say which document it was, and what its parser said', () => {
    expect(refusalOf(() => read('[1, 2]'))).toMatchObject({ code: 'json-not-canonical', field: 'doc' });
    expect(refusalOf(() => read('[1'))).toMatchObject({ code: 'json-malformed', field: 'doc' });
    expect(causeOf(() => read('[1'))).toBeInstanceOf(SyntaxError);
    expect(refusalOf(() => decodeCanonicalJson(Uint8Array.of(0xff), { maxBytes: 9 }, 'doc')).field).toBe(
      'doc',
    );
  });

  it.each<[JsonValue, string, string]>([
    [{ a: [1, 0.5] }, 'document.a[1]', '0.5'],
    [[2 ** 53], 'document[0]', '9007199254740992'],
    [[Number.NaN], 'document[0]', 'NaN'],
    [{ a: { b: '\ud800' } }, 'document.a.b', 'a lone surrogate'],
    [{ '\udc00': 1 }, 'document', 'a lone surrogate'],
  ])('W11: name the member of what cannot be signed: %j', (value, field, found) => {
    expect(refusalOf(() => encodeCanonicalJson(value))).toMatchObject({
      code: 'json-malformed',
      field,
      found,
    });
  });

  it.each([
    ['lists', (inner: JsonValue): JsonValue => [inner]],
    ['objects', (inner: JsonValue): JsonValue => ({ a: inner })],
  ])('W11: begin below 32 levels of %s', (_, wrap) => {
    const nested = (levels: number): JsonValue => (levels === 0 ? 1 : wrap(nested(levels - 1)));
    expect(refusalCode(() => encodeCanonicalJson(nested(32)))).toBe('accepted');
    expect(refusalOf(() => encodeCanonicalJson(nested(33)))).toMatchObject({
      code: 'json-malformed',
      expected: 'at most 32 levels',
    });
  });

  it('W11: the order of members is that of UTF-16', () => {
    const value = { '\uffff': 1, '\u{1f600}': 2, b: false, a: null, '': -1 };
    const text = '{"":-1,"a":null,"b":false,"\u{1f600}":2,"\uffff":1}';
    expect(encodeCanonicalJson(value)).toEqual(toUtf8(text));
    expect(read(text)).toEqual(value);
  });
});

describe('refusals of JSON shapes', () => {
  const list = listShape({ minItems: 1, maxItems: 2 }, integerShape({ min: 1, max: 9 }));
  const map = mapShape({ name: /^[0-9]$/, maxMembers: 2 }, booleanShape);
  const text = textShape({ pattern: /^[0-9]$/ });

  it.each<[string, () => unknown, string, string]>([
    ['a list', () => list([1, 2, 3], 'x'), 'x', 'a list of 3'],
    ['no list', () => list({}, 'x'), 'x', 'an object'],
    ['an item', () => list([1, 10], 'x'), 'x[1]', '10'],
    ['a fraction', () => list([1.5], 'x'), 'x[0]', '1.5'],
    ['null', () => list([null], 'x'), 'x[0]', 'null'],
    ['a truth', () => list(true, 'x'), 'x', 'true'],
    ['a large integer', () => integerShape({ min: 0, max: 2 ** 60 })(2 ** 53, 'x'), 'x', '9007199254740992'],
    ['a text', () => text('ab', 'x'), 'x', 'the text ab'],
    ['a number for a text', () => text(1, 'x'), 'x', '1'],
    ['a list for a map', () => map([true], 'x'), 'x', 'a list of 1'],
    ['null for a map', () => map(null, 'x'), 'x', 'null'],
    ['a map', () => map({ 1: true, 2: true, 3: true }, 'x'), 'x', 'an object'],
    ['a name', () => map({ 1: true, a: true }, 'x'), 'x', 'an object'],
    ['a member of a map', () => map({ 1: true, 2: 2 }, 'x'), 'x.2', '2'],
    ['no literal', () => literalShape<string | number>('a', 1)('b', 'x'), 'x', 'the text b'],
    ['no bytes', () => base64Shape({ maxBytes: 4 })(1, 'x'), 'x', '1'],
    ['a list for bytes', () => base64Shape({ maxBytes: 4 })(['AQ=='], 'x'), 'x', 'a list of 1'],
    ['many bytes', () => base64Shape({ maxBytes: 3 })('AAAAAAAA', 'x'), 'x', 'the text AAAAAAAA'],
    ['a list for hex', () => hexShape({ bytes: [1] })(['a', 'b'], 'x'), 'x', 'a list of 2'],
    ['hex of another length', () => hexShape({ bytes: [1, 3] })('abcd', 'x'), 'x', 'the text abcd'],
  ])('W11: show %s', (_, action, field, found) => {
    expect(refusalOf(action)).toMatchObject({ code: 'shape-value', field, found });
  });

  it('W11: name members that are unknown or missing', () => {
    const shape = objectShape({ a: anyShape, b: objectShape({ c: anyShape }) });
    const facts = { code: 'shape-member', expected: 'the members a, b' };
    expect(refusalOf(() => shape({ a: 1 }, 'x'))).toMatchObject({ ...facts, field: 'x', found: 'no b' });
    expect(refusalOf(() => shape({ a: 1, b: {}, d: 1 }, 'x'))).toMatchObject({ ...facts, found: 'd' });
    expect(refusalOf(() => shape({ a: 1, b: {} }, 'x'))).toMatchObject({ field: 'x.b', found: 'no c' });
    expect(refusalOf(() => shape([], 'x'))).toMatchObject({ code: 'shape-value', field: 'x' });
    const inherited = objectShape({ toString: anyShape });
    expect(refusalOf(() => inherited({}, 'x'))).toMatchObject({ found: 'no toString' });
  });

  it('W11: end at the limits', () => {
    expect(list([1, 9], 'x')).toEqual([1, 9]);
    expect(map({ 1: true, 2: false }, 'x').size).toBe(2);
    expect(base64Shape({ maxBytes: 4 })('AAAAAAA=', 'x').length).toBe(5);
    expect(hexShape({ bytes: [1, 3] })('abcdef', 'x').length).toBe(3);
    expect(literalShape<string | number>('a', 1)(1, 'x')).toBe(1);
    expect(nullableShape(text)('1', 'x')).toBe('1');
    expect(anyShape({ any: [1] }, 'x')).toEqual({ any: [1] });
  });
});

describe('refusals of layouts', () => {
  const { u8, u16, u24, u32, u64 } = bigEndian;
  const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);

  it.each<[string, () => unknown, string, string, string]>([
    [
      'a cut',
      () => decode(structure({ a: u8(), b: u32() }), bytes(1, 2, 3), 'x'),
      'x.b',
      '4 bytes',
      '2 bytes',
    ],
    ['what follows', () => decode(u8(), bytes(1, 2, 3), 'x'), 'x', '1 bytes', '3 bytes'],
    [
      'what follows inside',
      () => decode(sized(u8(), u8()), bytes(3, 1, 2, 3), 'x'),
      'x',
      '1 bytes',
      '3 bytes',
    ],
    [
      'an unknown value',
      () => decode(u16({ oneOf: [1, 16] }), bytes(0, 17), 'x'),
      'x',
      'one of 0x1, 0x10',
      '0x11',
    ],
    ['a large value', () => decode(u16({ max: 16 }), bytes(1, 0), 'x'), 'x', 'at most 16', '256'],
    [
      'an unknown bit',
      () => decode(u64({ knownBits: 3n }), bytes(0, 0, 0, 0, 0, 0, 0, 6), 'x'),
      'x',
      'no bits outside 0x3',
      '0x6',
    ],
    ['a constant', () => decode(constantBytes(bytes(1, 2)), bytes(1, 3), 'x'), 'x', '0102', '0103'],
    [
      'a count',
      () => decode(counted(u8({ max: 1 }), u8()), bytes(2, 1, 1), 'x'),
      'x.count',
      'at most 1',
      '2',
    ],
    ['a size', () => decode(sizedBytes(u8({ max: 1 })), bytes(2, 1, 1), 'x'), 'x.size', 'at most 1', '2'],
    ['an item', () => decode(counted(u8(), u16()), bytes(2, 1, 1, 1), 'x'), 'x[1]', '2 bytes', '1 bytes'],
    ['the last item', () => decode(itemsToEnd(u16()), bytes(1, 1, 1), 'x'), 'x[1]', '2 bytes', '1 bytes'],
    [
      'a tag',
      () => decode(variants('tag', u8(), { 1: {}, 16: {} }), bytes(2), 'x'),
      'x.tag',
      'a tag of 0x1, 0x10',
      '0x2',
    ],
    ['no tag', (): unknown => refuseTag('x', [1], 'text'), 'x', 'a tag of 0x1', 'string'],
    ['a written byte', () => encode(u8(), 256, 'x'), 'x', 'an unsigned integer of 1 bytes', '256'],
    ['a negative number', () => encode(u24(), -1, 'x'), 'x', 'an unsigned integer of 3 bytes', '-1'],
    ['a fraction', () => encode(u8(), 1.5, 'x'), 'x', 'an unsigned integer of 1 bytes', '1.5'],
    [
      'a written bigint',
      () => encode(u64(), 2n ** 64n, 'x'),
      'x',
      'an unsigned integer of 8 bytes',
      '18446744073709551616',
    ],
    ['a negative bigint', () => encode(u64(), -1n, 'x'), 'x', 'an unsigned integer of 8 bytes', '-1'],
    ['written bytes', () => encode(fixedBytes(2), bytes(1), 'x'), 'x', '2 bytes', '1 bytes'],
    ['a written constant', () => encode(constantBytes(bytes(1)), bytes(2), 'x'), 'x', '01', '02'],
    [
      'a written item',
      () => encode(itemsToEnd(u8()), [1, 256], 'x'),
      'x[1]',
      'an unsigned integer of 1 bytes',
      '256',
    ],
    [
      'a counted item',
      () => encode(counted(u8(), u8()), [1, 256], 'x'),
      'x[1]',
      'an unsigned integer of 1 bytes',
      '256',
    ],
    [
      'a written count',
      () => encode(counted(u8({ max: 1 }), u8()), [1, 2], 'x'),
      'x.count',
      'at most 1',
      '2',
    ],
    [
      'a written size',
      () => encode(sizedBytes(u8({ max: 1 })), bytes(1, 2), 'x'),
      'x.size',
      'at most 1',
      '2',
    ],
    [
      'a member',
      () => encode(structure({ a: u8() }), { a: 256 }, 'x'),
      'x.a',
      'an unsigned integer of 1 bytes',
      '256',
    ],
  ])('W11: show %s', (_, action, field, expected, found) => {
    expect(refusalOf(action)).toMatchObject({ field, expected, found });
  });

  it('W11: show 64 bytes at most', () => {
    const long = new Uint8Array(80).fill(1);
    expect(
      refusalOf(() => {
        decode(reserved(80), long, 'x');
      }),
    ).toMatchObject({
      code: 'layout-reserved',
      field: 'x',
      found: '01'.repeat(64),
    });
    expect(refusalOf(() => decode(constantBytes(new Uint8Array(80)), long, 'x')).found).toBe('01'.repeat(64));
  });

  it('W11: end at the limits', () => {
    expect(encode(u8({ max: 255 }), 255, 'x')).toEqual(bytes(255));
    expect(encode(u64(), 2n ** 64n - 1n, 'x')).toEqual(new Uint8Array(8).fill(255));
    expect(encode(u64(), 0n, 'x')).toEqual(new Uint8Array(8));
    expect(decode(u64(), bytes(0xff, 2, 3, 4, 5, 6, 7, 8), 'x')).toBe(0xff02030405060708n);
    expect(decode(littleEndian.u64(), bytes(8, 7, 6, 5, 4, 3, 2, 0xff), 'x')).toBe(0xff02030405060708n);
    expect(decode(littleEndian.u16({ max: 0x0201 }), bytes(1, 2), 'x')).toBe(0x0201);
    expect(encode(littleEndian.u24(), 0x030201, 'x')).toEqual(bytes(1, 2, 3));
    expect(encode(reserved(2), undefined, 'x')).toEqual(new Uint8Array(2));
    expect(encode(remainingBytes(), bytes(1, 2), 'x')).toEqual(bytes(1, 2));
  });

  it('W11: an item without bytes is a defect of its declaration', () => {
    expect(() => decode(itemsToEnd(fixedBytes(0)), bytes(1), 'x')).toThrow(TypeError);
    expect(decode(itemsToEnd(fixedBytes(0)), bytes(), 'x')).toEqual([]);
  });

  it('W11: members may follow from members before them', () => {
    const chosen = dependent((members) => (members['kind'] === 1 ? u8() : u16()));
    const layout = structure({ kind: u8(), value: chosen });
    expect(decode(layout, bytes(1, 2), 'x')).toEqual({ kind: 1, value: 2 });
    expect(decode(layout, bytes(2, 2, 3), 'x')).toEqual({ kind: 2, value: 0x0203 });
    expect(encode(layout, { kind: 1, value: 2 }, 'x')).toEqual(bytes(1, 2));
    expect(encode(layout, { kind: 2, value: 2 }, 'x')).toEqual(bytes(2, 0, 2));
  });
});
