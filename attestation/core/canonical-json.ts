/**
 * Canonical JSON (RFC 8785, JCS). Every JSON document that is signed, hashed or sent by this project has exactly
 * one byte form. A reader parses, writes the canonical form again and compares: white space, another order of
 * members, a duplicate member or a second spelling of a number all show as a difference and are refused (W11).
 */

import { equalBytes, fromUtf8, toUtf8 } from './bytes.ts';
import { defineRefusals } from './refusal.ts';

export const jsonRefusals = defineRefusals('malformed', {
  'json-too-large': {
    means: 'A JSON document is larger than its reader allows.',
    hint: 'Send less; the limit stands in the specification of the message.',
  },
  'json-malformed': {
    means: 'A document is not JSON, or not of the subset that can be signed.',
    hint: 'Use JSON with integers below 2^53, strings without lone surrogates and at most 32 levels.',
  },
  'json-not-canonical': {
    means: 'A document is JSON but not in canonical form (RFC 8785).',
    hint: 'Serialise it with JCS: members sorted, no white space, no member twice.',
  },
});

export type JsonValue =
  null | boolean | number | string | readonly JsonValue[] | { readonly [name: string]: JsonValue };

/** Deeper nesting than any document of ours has; keeps a hostile document from exhausting the stack. */
const MAX_DEPTH = 32;

/** Writes the canonical bytes. @throws RefusalError `json-malformed` on a value outside the subset. */
export function encodeCanonicalJson(value: JsonValue): Uint8Array<ArrayBuffer> {
  return toUtf8(canonicalText(value, 'document', 0));
}

function canonicalText(value: JsonValue, path: string, depth: number): string {
  if (depth > MAX_DEPTH) refuse(path, `at most ${MAX_DEPTH} levels`, 'deeper nesting');
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') return canonicalNumber(value, path);
  if (typeof value === 'string') return canonicalString(value, path);
  if (isArray(value)) {
    return `[${value.map((item, i) => canonicalText(item, `${path}[${i}]`, depth + 1)).join(',')}]`;
  }
  // The default order of sort() is that of UTF-16 code units, as RFC 8785 section 3.2.3 asks.
  const members = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  const texts = members.map(
    ([name, member]) =>
      `${canonicalString(name, path)}:${canonicalText(member, `${path}.${name}`, depth + 1)}`,
  );
  return `{${texts.join(',')}}`;
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

/** Only integers that every JSON reader holds exactly: larger counts travel as decimal text. */
function canonicalNumber(value: number, path: string): string {
  if (!Number.isSafeInteger(value)) refuse(path, 'an integer below 2^53', String(value));
  return JSON.stringify(value);
}

function canonicalString(value: string, path: string): string {
  if (!value.isWellFormed()) refuse(path, 'well-formed Unicode', 'a lone surrogate');
  return JSON.stringify(value);
}

function refuse(field: string, expected: string, found: string): never {
  throw jsonRefusals.error('json-malformed', { field, expected, found });
}

/**
 * Reads a canonical document.
 *
 * @param limits.maxBytes size above which nothing is parsed
 * @param name what the document is, for the refusal
 * @throws RefusalError `json-*`, `utf8-malformed`
 */
export function decodeCanonicalJson(
  bytes: Uint8Array,
  limits: { readonly maxBytes: number },
  name: string,
): JsonValue {
  if (bytes.length > limits.maxBytes) {
    throw jsonRefusals.error('json-too-large', {
      field: name,
      expected: `at most ${limits.maxBytes} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const value = parse(fromUtf8(bytes, name), name);
  if (!equalBytes(encodeCanonicalJson(value), bytes)) {
    throw jsonRefusals.error('json-not-canonical', {
      field: name,
      expected: 'the canonical form (RFC 8785)',
      found: 'another spelling of the same or of a duplicated member',
    });
  }
  return value;
}

function parse(text: string, name: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw jsonRefusals.error(
      'json-malformed',
      { field: name, expected: 'JSON', found: 'text that does not parse' },
      { cause },
    );
  }
}
