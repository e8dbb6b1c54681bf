import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { bitField, openBitField } from '../../../attestation/core/bit-field.ts';
import { bigEndian, decode, encode, littleEndian } from '../../../attestation/core/layout.ts';
import { refusalCode, refusalOf } from '../../support/refusal-code.ts';

const table = { flag: 0, level: [4, 7] } as const;
const closed = bitField(littleEndian, 4, table);
const open = openBitField(bigEndian, 8, table);

describe('bit fields', () => {
  it('W11: give names to bits and keep the others in their places', () => {
    expect(decode(closed, Uint8Array.of(0xa1, 0, 0, 0), 'x')).toEqual({ flag: true, level: 10 });
    const value = decode(open, Uint8Array.of(0x80, 0, 0, 0, 0, 0, 0, 0x52), 'x');
    expect(value).toEqual({ flag: false, level: 5, unknownBits: 0x8000000000000002n });
  });

  it('W11: read fields of both halves, up to their last bits', () => {
    const wide = openBitField(bigEndian, 8, { low: [0, 31], high: [33, 63], edge: 32 });
    expect(decode(wide, new Uint8Array(8).fill(0xff), 'x')).toEqual({
      ...{ low: 0xffffffff, high: 0x7fffffff, edge: true },
      unknownBits: 0n,
    });
    expect(() => openBitField(bigEndian, 8, { across: [31, 32] })).toThrow(TypeError);
  });

  it('W11: refuse bits without a name unless they are open', () => {
    expect(refusalCode(() => decode(closed, Uint8Array.of(2, 0, 0, 0), 'x'))).toBe('layout-reserved');
    expect(refusalCode(() => decode(closed, Uint8Array.of(0, 0, 0, 0x80), 'x'))).toBe('layout-reserved');
  });

  it('W11: read and write are inverse', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (bytes) => {
        expect(encode(open, decode(open, bytes, 'x'), 'x')).toEqual(bytes);
      }),
    );
  });

  it('W11: refuse to write what does not fit', () => {
    expect(refusalCode(() => encode(closed, { flag: false, level: 16 }, 'x'))).toBe('layout-value');
    expect(refusalCode(() => encode(closed, { flag: false, level: -1 }, 'x'))).toBe('layout-value');
    expect(refusalCode(() => encode(open, { flag: false, level: 1, unknownBits: 1n }, 'x'))).toBe(
      'layout-value',
    );
  });
});

describe('refusals of bit fields', () => {
  const written = (value: unknown, layout: unknown = closed): unknown =>
    encode(layout as typeof closed, value as { flag: boolean; level: number }, 'x');

  it('W11: show the bits that have no name', () => {
    expect(refusalOf(() => decode(closed, Uint8Array.of(3, 0, 0, 0x80), 'x'))).toMatchObject({
      code: 'layout-reserved',
      field: 'x',
      found: '0x80000002',
    });
    const unknownBits = { flag: true, level: 1, unknownBits: 0x11n };
    expect(refusalOf(() => written(unknownBits, open))).toMatchObject({
      code: 'layout-value',
      field: 'x.unknownBits',
      found: '0x11',
    });
  });

  it.each([
    [16, '16'],
    [-1, '-1'],
    [1.5, '1.5'],
    ['1', 'string'],
    [undefined, 'undefined'],
  ])('W11: show %j, which does not fit', (level, found) => {
    expect(refusalOf(() => written({ flag: false, level }))).toMatchObject({
      code: 'layout-value',
      field: 'x.level',
      expected: 'a value of at most 15',
      found,
    });
  });

  it('W11: begin above the largest value of a field', () => {
    expect(written({ flag: true, level: 15 })).toEqual(Uint8Array.of(0xf1, 0, 0, 0));
    expect(written({ flag: false, level: 0 })).toEqual(new Uint8Array(4));
    const top = { flag: false, level: 0, unknownBits: 0x8000000000000000n };
    expect(written(top, open)).toEqual(Uint8Array.of(0x80, 0, 0, 0, 0, 0, 0, 0));
  });
});
