/**
 * Declared shapes of JSON documents, in the way of layout.ts: a reader is a table, and unknown or missing members,
 * wrong types and values outside their limits are refused with the path of the member (W11).
 */

import { excerpt, fromBase64, fromHex } from './bytes.ts';
import type { JsonValue } from './canonical-json.ts';
import { defineRefusals } from './refusal.ts';

export const shapeRefusals = defineRefusals('malformed', {
  'shape-member': {
    means: 'A JSON object lacks a member or has one that its specification does not know.',
    hint: 'The document is of another version, or was written by hand; compare it with its specification.',
  },
  'shape-value': {
    means: 'A member of a JSON document is of the wrong type or outside its limits.',
    hint: 'Compare the document with its specification.',
  },
});

/** Reads one JSON value. Made by the functions below. */
export type Shape<T> = (value: JsonValue, path: string) => T;

/** What a shape reads. */
export type ShapeValue<S> = S extends Shape<infer T> ? T : never;

function refuseValue(path: string, expected: string, value: JsonValue): never {
  throw shapeRefusals.error('shape-value', { field: path, expected, found: describe(value) });
}

function describe(value: JsonValue): string {
  if (typeof value === 'string') return `the text ${excerpt(value)}`;
  if (value === null || typeof value !== 'object') return String(value);
  return Array.isArray(value) ? `a list of ${value.length}` : 'an object';
}

function isObject(value: JsonValue): value is Readonly<Record<string, JsonValue>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Exactly the members of the table. */
export function objectShape<const T extends Readonly<Record<string, Shape<unknown>>>>(
  table: T,
): Shape<{ readonly [K in keyof T]: ShapeValue<T[K]> }> {
  return (value, path) => {
    if (!isObject(value)) return refuseValue(path, 'an object', value);
    const unknown = Object.keys(value).find((name) => !Object.hasOwn(table, name));
    if (unknown !== undefined) throw badMember(path, Object.keys(table), excerpt(unknown));
    const members = Object.entries(table).map(([name, shape]) => {
      const member = Object.hasOwn(value, name) ? value[name] : undefined;
      if (member === undefined) throw badMember(path, Object.keys(table), `no ${name}`);
      return [name, shape(member, `${path}.${name}`)] as const;
    });
    return Object.fromEntries(members) as { readonly [K in keyof T]: ShapeValue<T[K]> };
  };
}

function badMember(field: string, names: readonly string[], found: string): Error {
  return shapeRefusals.error('shape-member', { field, expected: `the members ${names.join(', ')}`, found });
}

/** An object whose names are data. */
export function mapShape<T>(
  rule: { readonly name: RegExp; readonly maxMembers: number },
  item: Shape<T>,
): Shape<ReadonlyMap<string, T>> {
  return (value, path) => {
    const expected = `an object of at most ${rule.maxMembers} members named ${rule.name.source}`;
    if (!isObject(value)) return refuseValue(path, expected, value);
    const entries = Object.entries(value);
    const isNamed = entries.every(([name]) => rule.name.test(name));
    if (entries.length > rule.maxMembers || !isNamed) return refuseValue(path, expected, value);
    return new Map(entries.map(([name, member]) => [name, item(member, `${path}.${name}`)]));
  };
}

export function listShape<T>(
  rule: { readonly minItems: number; readonly maxItems: number },
  item: Shape<T>,
): Shape<readonly T[]> {
  return (value, path) => {
    const expected = `a list of ${rule.minItems} to ${rule.maxItems}`;
    if (!Array.isArray(value)) return refuseValue(path, expected, value);
    const items = value as readonly JsonValue[];
    if (items.length < rule.minItems || items.length > rule.maxItems)
      return refuseValue(path, expected, value);
    return items.map((member, i) => item(member, `${path}[${i}]`));
  };
}

export function integerShape(rule: { readonly min: number; readonly max: number }): Shape<number> {
  return (value, path) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= rule.min && value <= rule.max
      ? value
      : refuseValue(path, `an integer from ${rule.min} to ${rule.max}`, value);
}

export function textShape(rule: { readonly pattern: RegExp }): Shape<string> {
  return (value, path) =>
    typeof value === 'string' && rule.pattern.test(value)
      ? value
      : refuseValue(path, `a text of the form ${rule.pattern.source}`, value);
}

/** One of a few texts or numbers. */
export function literalShape<const T extends string | number>(...known: readonly T[]): Shape<T> {
  return (value, path) =>
    known.find((literal) => literal === value) ?? refuseValue(path, `one of ${known.join(', ')}`, value);
}

export const booleanShape: Shape<boolean> = (value, path) =>
  typeof value === 'boolean' ? value : refuseValue(path, 'true or false', value);

export function nullableShape<T>(shape: Shape<T>): Shape<T | null> {
  return (value, path) => (value === null ? null : shape(value, path));
}

/** Canonical base64 of bounded length; the value is the bytes. */
export function base64Shape(rule: { readonly maxBytes: number }): Shape<Uint8Array> {
  return (value, path) => {
    const maxCharacters = 4 * Math.ceil(rule.maxBytes / 3);
    if (typeof value !== 'string' || value.length > maxCharacters) {
      return refuseValue(path, `base64 of at most ${rule.maxBytes} bytes`, value);
    }
    return fromBase64(value, path);
  };
}

/** Lower-case hexadecimal of so many bytes; the value is the bytes. */
export function hexShape(rule: { readonly bytes: readonly number[] }): Shape<Uint8Array> {
  return (value, path) => {
    if (typeof value !== 'string' || !rule.bytes.includes(value.length / 2)) {
      return refuseValue(path, `hex of ${rule.bytes.join(' or ')} bytes`, value);
    }
    return fromHex(value, path);
  };
}

/** Any JSON value, for a member that somebody else reads. */
export const anyShape: Shape<JsonValue> = (value) => value;
