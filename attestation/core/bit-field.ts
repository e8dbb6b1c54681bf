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
  const fields = Object.entries(table).map(([name, position]) => placed(name, position));
  const known = fields.reduce((bits, { low, count }) => bits | (BigInt(count - 1) << BigInt(low)), 0n);
  return {
    read: (cursor, path, members) => {
      const value = integer.read(cursor, path, members);
      return { ...readFields(fields, value), unknownBits: value & ~known } as BitValues<T> & {
        readonly unknownBits: bigint;
      };
    },
    write: (value, path, members) => {
      const values: Readonly<Record<string, unknown>> = value;
      const total = fields.reduce(
        (bits, { name, low, count }) =>
          bits | (checked(values[name], BigInt(count - 1), `${path}.${name}`) << BigInt(low)),
        checkedUnknown(value.unknownBits, known, path),
      );
      return integer.write(total, path, members);
    },
  };
}

interface PlacedField {
  readonly name: string;
  readonly isFlag: boolean;
  readonly low: number;
  /** How many values it has. */
  readonly count: number;
}

const HALF_BITS = 32;

function placed(name: string, position: BitPosition): PlacedField {
  const isFlag = typeof position === 'number';
  const [low, high] = isFlag ? [position, position] : position;
  if (Math.floor(low / HALF_BITS) !== Math.floor(high / HALF_BITS)) {
    throw new TypeError(`the bits of ${name} lie in both halves of the integer`);
  }
  return { name, isFlag, low, count: 2 ** (high - low + 1) };
}

/** Taken out of the integer's halves, because numbers hold 32 bits and shift much faster than bigints do. */
function readFields(fields: readonly PlacedField[], value: bigint): Record<string, boolean | number> {
  const lower = Number(BigInt.asUintN(HALF_BITS, value));
  const upper = Number(value >> BigInt(HALF_BITS));
  const values: Record<string, boolean | number> = {};
  for (const { name, isFlag, low, count } of fields) {
    const number = ((low < HALF_BITS ? lower : upper) >>> (low % HALF_BITS)) % count;
    values[name] = isFlag ? number === 1 : number;
  }
  return values;
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
