/**
 * Bit fields as declared layouts: an integer whose bits have names. One reader, one writer, as in layout.ts; bits
 * without a name are either refused or kept in sight, never dropped.
 */

import { layoutRefusals } from './layout.ts';
import type { Integers, Layout } from './layout.ts';

/** A single bit (read as true or false), or the lowest and highest bit of a small number. */
type BitPosition = number | readonly [low: number, high: number];
type BitTable = Readonly<Record<string, BitPosition>>;

type BitValues<T extends BitTable> = {
  readonly [K in keyof T]: T[K] extends number ? boolean : number;
};

/** A field whose unnamed bits must be zero. */
export function bitField<const T extends BitTable>(
  integers: Integers,
  bytes: 4 | 8,
  table: T,
): Layout<BitValues<T>> {
  const open = openBitField(integers, bytes, table);
  return {
    read: (cursor, path, members) => {
      const { unknownBits, ...values } = open.read(cursor, path, members);
      if (unknownBits === 0n) return values as unknown as BitValues<T>;
      throw layoutRefusals.error('layout-reserved', {
        field: path,
        expected: 'no bits but those that have a name',
        found: `0x${unknownBits.toString(16)}`,
      });
    },
    write: (value, path, members) => open.write({ ...value, unknownBits: 0n }, path, members),
  };
}

/** A field that a later version may extend: bits without a name stand, in their places, in `unknownBits`. */
export function openBitField<const T extends BitTable>(
  integers: Integers,
  bytes: 4 | 8,
  table: T,
): Layout<BitValues<T> & { readonly unknownBits: bigint }> {
  const integer = bytes === 8 ? integers.u64() : widened(integers.u32());
  const fields = Object.entries(table).map(([name, position]) => ({ name, position, ...placed(position) }));
  const known = fields.reduce((bits, { low, mask }) => bits | (mask << low), 0n);
  return {
    read: (cursor, path, members) => {
      const value = integer.read(cursor, path, members);
      const values = fields.map(({ name, position, low, mask }) => {
        const number = Number((value >> low) & mask);
        return [name, typeof position === 'number' ? number === 1 : number] as const;
      });
      return { ...Object.fromEntries(values), unknownBits: value & ~known } as BitValues<T> & {
        readonly unknownBits: bigint;
      };
    },
    write: (value, path, members) => {
      const values: Readonly<Record<string, unknown>> = value;
      const total = fields.reduce(
        (bits, { name, low, mask }) => bits | (checked(values[name], mask, `${path}.${name}`) << low),
        checkedUnknown(value.unknownBits, known, path),
      );
      return integer.write(total, path, members);
    },
  };
}

function placed(position: BitPosition): { readonly low: bigint; readonly mask: bigint } {
  const [low, high] = typeof position === 'number' ? [position, position] : position;
  return { low: BigInt(low), mask: (1n << BigInt(high - low + 1)) - 1n };
}

function widened(layout: Layout<number>): Layout<bigint> {
  return {
    read: (cursor, path, members) => BigInt(layout.read(cursor, path, members)),
    write: (value, path, members) => layout.write(Number(value), path, members),
  };
}

function checked(value: unknown, mask: bigint, field: string): bigint {
  const isNumber = typeof value === 'number' && Number.isSafeInteger(value);
  if (typeof value === 'boolean' || (isNumber && value >= 0 && BigInt(value) <= mask)) return BigInt(value);
  throw layoutRefusals.error('layout-value', {
    field,
    expected: `a value of at most ${mask}`,
    found: typeof value === 'number' ? String(value) : typeof value,
  });
}

function checkedUnknown(bits: bigint, known: bigint, field: string): bigint {
  if ((bits & known) === 0n) return bits;
  throw layoutRefusals.error('layout-value', {
    field: `${field}.unknownBits`,
    expected: 'bits without a name',
    found: `0x${bits.toString(16)}`,
  });
}
