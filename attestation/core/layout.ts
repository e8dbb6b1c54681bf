/**
 * Declared binary layouts: a wire structure is a table of members with their constraints, and the same table reads
 * and writes it. Reading refuses short input, trailing bytes, reserved bytes that are not zero and values outside
 * their constraint, always with the path of the member; what was read encodes to the same bytes again.
 *
 * Byte strings that are read are views of the input: nothing is copied.
 */

import { concatBytes, equalBytes, isZero, toHex } from './bytes.ts';
import { defineRefusals } from './refusal.ts';

export const layoutRefusals = defineRefusals('malformed', {
  'layout-truncated': {
    means: 'The input ends inside a member.',
    hint: 'The file or message was cut; collect or fetch it again.',
  },
  'layout-trailing': {
    means: 'Bytes follow after the last member.',
    hint: 'Remove what was appended; unsigned extra bytes are never ignored.',
  },
  'layout-reserved': {
    means: 'A reserved range holds something other than zero.',
    hint: 'The structure was altered, or is of a version that this release does not know.',
  },
  'layout-value': {
    means: 'A member is outside the values that the layout allows.',
    hint: 'The structure was altered, or is of a kind that this release does not know.',
  },
});

/** Members of the structure that is being read or written, in wire order, as far as they are known. */
export type Members = Readonly<Record<string, unknown>>;

/** A position in the input. */
class Cursor {
  readonly bytes: Uint8Array;
  private position = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get remaining(): number {
    return this.bytes.length - this.position;
  }

  take(length: number, path: string): Uint8Array {
    const start = this.pass(length, path);
    return this.bytes.subarray(start, start + length);
  }

  /** Goes on behind so many bytes and tells where they start, for values that need no view of their own. */
  pass(length: number, path: string): number {
    if (length > this.remaining) {
      throw layoutRefusals.error('layout-truncated', {
        field: path,
        expected: `${length} bytes`,
        found: `${this.remaining} bytes`,
      });
    }
    const start = this.position;
    this.position += length;
    return start;
  }
}

/** How one kind of value stands on the wire. Made by the functions below, never by hand. */
export interface Layout<T> {
  read(cursor: Cursor, path: string, members: Members): T;
  write(value: T, path: string, members: Members): Uint8Array;
}

/** The type of the values that a layout reads and writes. */
export type ValueOf<L> = L extends Layout<infer T> ? T : never;

/**
 * Reads the whole input.
 *
 * @param name what the input is; the first part of every member's path
 * @throws RefusalError `layout-*`
 */
export function decode<T>(layout: Layout<T>, bytes: Uint8Array, name: string): T {
  const cursor = new Cursor(bytes);
  const value = layout.read(cursor, name, {});
  if (cursor.remaining > 0) {
    throw layoutRefusals.error('layout-trailing', {
      field: name,
      expected: `${bytes.length - cursor.remaining} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  return value;
}

/** Writes a value under the same constraints under which it is read. @throws RefusalError `layout-value` */
export function encode<T>(layout: Layout<T>, value: T, name: string): Uint8Array {
  return layout.write(value, name, {});
}

function refuseValue(path: string, expected: string, found: string): never {
  throw layoutRefusals.error('layout-value', { field: path, expected, found });
}

type ByteOrder = 'big-endian' | 'little-endian';

/** What an unsigned integer may be; without any constraint all values of its width are allowed. */
export interface IntegerConstraint<V extends number | bigint> {
  readonly oneOf?: readonly V[];
  readonly max?: V;
  /** Bits that may be set; any other is refused. */
  readonly knownBits?: V;
}

function checkInteger<V extends number | bigint>(value: V, rule: IntegerConstraint<V>, path: string): V {
  const show = (number: number | bigint): string => `0x${number.toString(16)}`;
  if (rule.oneOf !== undefined && !rule.oneOf.includes(value)) {
    refuseValue(path, `one of ${rule.oneOf.map(show).join(', ')}`, show(value));
  }
  if (rule.max !== undefined && value > rule.max) refuseValue(path, `at most ${rule.max}`, value.toString());
  if (rule.knownBits !== undefined && (BigInt(value) & ~BigInt(rule.knownBits)) !== 0n) {
    refuseValue(path, `no bits outside ${show(rule.knownBits)}`, show(value));
  }
  return value;
}

/** Up to four bytes: a number holds them exactly. */
function numberAt(bytes: Uint8Array, start: number, width: number, order: ByteOrder): number {
  let value = 0;
  for (let i = 0; i < width; i += 1) {
    value = value * 256 + (bytes[start + (order === 'big-endian' ? i : width - 1 - i)] ?? 0);
  }
  return value;
}

/** Eight bytes, by their halves: a bigint for each byte would cost more than all else in a report. */
function integerAt(bytes: Uint8Array, start: number, order: ByteOrder): bigint {
  const first = BigInt(numberAt(bytes, start, 4, order));
  const second = BigInt(numberAt(bytes, start + 4, 4, order));
  return order === 'big-endian' ? (first << 32n) | second : (second << 32n) | first;
}

function integerToBytes(value: bigint, width: number, order: ByteOrder): Uint8Array {
  const bytes = new Uint8Array(width);
  for (let i = 0; i < width; i += 1) bytes[width - 1 - i] = Number((value >> BigInt(8 * i)) & 0xffn);
  return order === 'big-endian' ? bytes : bytes.reverse();
}

function smallInteger(
  width: 1 | 2 | 3 | 4,
  order: ByteOrder,
  rule: IntegerConstraint<number>,
): Layout<number> {
  const limit = 2 ** (8 * width);
  return {
    read: (cursor, path) =>
      checkInteger(numberAt(cursor.bytes, cursor.pass(width, path), width, order), rule, path),
    write: (value, path) => {
      if (!Number.isInteger(value) || value < 0 || value >= limit) {
        refuseValue(path, `an unsigned integer of ${width} bytes`, String(value));
      }
      return integerToBytes(BigInt(checkInteger(value, rule, path)), width, order);
    },
  };
}

/** The integers of one byte order. A file of layouts takes one of the two and names it once. */
export interface Integers {
  readonly u8: (rule?: IntegerConstraint<number>) => Layout<number>;
  readonly u16: (rule?: IntegerConstraint<number>) => Layout<number>;
  readonly u24: (rule?: IntegerConstraint<number>) => Layout<number>;
  readonly u32: (rule?: IntegerConstraint<number>) => Layout<number>;
  readonly u64: (rule?: IntegerConstraint<bigint>) => Layout<bigint>;
}

function integers(order: ByteOrder): Integers {
  return {
    u8: (rule = {}) => smallInteger(1, order, rule),
    u16: (rule = {}) => smallInteger(2, order, rule),
    u24: (rule = {}) => smallInteger(3, order, rule),
    u32: (rule = {}) => smallInteger(4, order, rule),
    u64: (rule = {}) => ({
      read: (cursor, path) => checkInteger(integerAt(cursor.bytes, cursor.pass(8, path), order), rule, path),
      write: (value, path) => {
        if (value < 0n || value >= 1n << 64n) {
          refuseValue(path, 'an unsigned integer of 8 bytes', value.toString());
        }
        return integerToBytes(checkInteger(value, rule, path), 8, order);
      },
    }),
  };
}

export const bigEndian = integers('big-endian');
export const littleEndian = integers('little-endian');

/** A byte string of fixed length. */
export function fixedBytes(length: number): Layout<Uint8Array> {
  return {
    read: (cursor, path) => cursor.take(length, path),
    write: (value, path) => {
      if (value.length !== length) refuseValue(path, `${length} bytes`, `${value.length} bytes`);
      return value;
    },
  };
}

/** Everything up to the end of the enclosing input. */
export function remainingBytes(): Layout<Uint8Array> {
  return { read: (cursor, path) => cursor.take(cursor.remaining, path), write: (value) => value };
}

/** Bytes that never change, such as a magic number or a label. The member's value is those bytes. */
export function constantBytes(expected: Uint8Array): Layout<Uint8Array> {
  const check = (found: Uint8Array, path: string): Uint8Array => {
    if (!equalBytes(found, expected)) refuseValue(path, toHex(expected), toHex(found.subarray(0, 64)));
    return found;
  };
  return {
    read: (cursor, path) => check(cursor.take(expected.length, path), path),
    write: (value, path) => check(value, path),
  };
}

/** Bytes that must be zero. A structure leaves them out of its value and writes them as zeros. */
export function reserved(length: number): Layout<undefined> {
  return {
    read: (cursor, path) => {
      const bytes = cursor.take(length, path);
      if (!isZero(bytes)) {
        throw layoutRefusals.error('layout-reserved', {
          field: path,
          expected: 'zero bytes',
          found: toHex(bytes.subarray(0, 64)),
        });
      }
      return undefined;
    },
    write: () => new Uint8Array(length),
  };
}

/** A length (in bytes) and then exactly so many bytes, which the inner layout must use up. */
export function sized<T>(length: Layout<number>, inner: Layout<T>): Layout<T> {
  return {
    read: (cursor, path, members) => {
      const size = length.read(cursor, `${path}.size`, members);
      const window = new Cursor(cursor.take(size, path));
      const value = inner.read(window, path, members);
      if (window.remaining > 0) {
        throw layoutRefusals.error('layout-trailing', {
          field: path,
          expected: `${size - window.remaining} bytes`,
          found: `${size} bytes`,
        });
      }
      return value;
    },
    write: (value, path, members) => {
      const bytes = inner.write(value, path, members);
      return concatBytes(length.write(bytes.length, `${path}.size`, members), bytes);
    },
  };
}

/** A length and then so many bytes, taken as they are. */
export function sizedBytes(length: Layout<number>): Layout<Uint8Array> {
  return sized(length, remainingBytes());
}

/** A count and then so many items. The count's own constraint bounds the work: give it a `max`. */
export function counted<T>(count: Layout<number>, item: Layout<T>): Layout<readonly T[]> {
  return {
    read: (cursor, path, members) => {
      const length = count.read(cursor, `${path}.count`, members);
      const items: T[] = [];
      for (let i = 0; i < length; i += 1) items.push(item.read(cursor, `${path}[${i}]`, members));
      return items;
    },
    write: (values, path, members) =>
      concatBytes(
        count.write(values.length, `${path}.count`, members),
        ...values.map((value, i) => item.write(value, `${path}[${i}]`, members)),
      ),
  };
}

/** Items up to the end of the enclosing input. An item without bytes would never come to it. */
export function itemsToEnd<T>(item: Layout<T>): Layout<readonly T[]> {
  return {
    read: (cursor, path, members) => {
      const items: T[] = [];
      while (cursor.remaining > 0) {
        const before = cursor.remaining;
        items.push(item.read(cursor, `${path}[${items.length}]`, members));
        if (cursor.remaining === before) throw new TypeError(`an item of ${path} has no bytes`);
      }
      return items;
    },
    write: (values, path, members) =>
      concatBytes(...values.map((value, i) => item.write(value, `${path}[${i}]`, members))),
  };
}

/** A member whose layout follows from members before it in the same structure (a union and its tag, for example). */
export function dependent<T>(choose: (members: Members, path: string) => Layout<T>): Layout<T> {
  return {
    read: (cursor, path, members) => choose(members, path).read(cursor, path, members),
    write: (value, path, members) => choose(members, path).write(value, path, members),
  };
}

/** Refuses a tag for which no layout is declared: for use in `dependent`. */
export function refuseTag(path: string, known: readonly number[], found: unknown): never {
  const show = (tag: unknown): string => (typeof tag === 'number' ? `0x${tag.toString(16)}` : typeof tag);
  refuseValue(path, `a tag of ${known.map(show).join(', ')}`, show(found));
}

type Table = Readonly<Record<string, Layout<unknown>>>;
type ReservedNames<T extends Table> = { [K in keyof T]: T[K] extends Layout<undefined> ? K : never }[keyof T];
type StructureValue<T extends Table> = {
  readonly [K in keyof T as K extends ReservedNames<T> ? never : K]: ValueOf<T[K]>;
};

/** Members one after another, in the order in which the table names them. */
export function structure<const T extends Table>(table: T): Layout<StructureValue<T>> {
  const entries = Object.entries(table);
  return {
    read: (cursor, path) => {
      const members: Record<string, unknown> = {};
      for (const [name, layout] of entries) {
        const value = layout.read(cursor, `${path}.${name}`, members);
        if (value !== undefined) members[name] = value;
      }
      return members as StructureValue<T>;
    },
    write: (value, path) => {
      const members: Members = value;
      return concatBytes(
        ...entries.map(([name, layout]) => layout.write(members[name], `${path}.${name}`, members)),
      );
    },
  };
}

type VariantValue<Name extends string, V extends Readonly<Record<number, Table>>> = {
  [K in keyof V]: V[K] extends Table ? StructureValue<V[K]> & { readonly [N in Name]: K } : never;
}[keyof V];

/**
 * A tag and then the members that belong to this tag, as one flat value that TypeScript narrows by the tag.
 * A tag without a table is refused.
 */
export function variants<const Name extends string, const V extends Readonly<Record<number, Table>>>(
  tagName: Name,
  tag: Layout<number>,
  tables: V,
): Layout<VariantValue<Name, V>> {
  const layouts = new Map(Object.entries(tables).map(([key, table]) => [Number(key), structure(table)]));
  const choose = (found: unknown, path: string): Layout<Members> =>
    layouts.get(Number(found)) ?? refuseTag(`${path}.${tagName}`, [...layouts.keys()], found);
  return {
    read: (cursor, path, members) => {
      const found = tag.read(cursor, `${path}.${tagName}`, members);
      const value = choose(found, path).read(cursor, path, members);
      return { [tagName]: found, ...value } as VariantValue<Name, V>;
    },
    write: (value, path, members) => {
      const found = value[tagName] as number;
      return concatBytes(
        tag.write(found, `${path}.${tagName}`, members),
        choose(found, path).write(value, path, members),
      );
    },
  };
}
