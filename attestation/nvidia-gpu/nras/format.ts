/**
 * What every message of NVIDIA's remote attestation service (NRAS) is made of: JSON without a canonical form, and values in
 * base64url.
 */

import { excerpt, fromBase64, fromUtf8 } from '../../core/bytes.ts';
import type { JsonValue } from '../../core/canonical-json.ts';
import { parseForeignJson } from '../../core/foreign-json.ts';
import type { ForeignJsonProblem } from '../../core/foreign-json.ts';
import { anyShape, listShape, objectShape } from '../../core/json-shape.ts';
import type { Shape, ShapeValue } from '../../core/json-shape.ts';
import { defineRefusals } from '../../core/refusal.ts';

export const nrasFormatRefusals = defineRefusals('malformed', {
  'nras-malformed': {
    means:
      'A message of NVIDIA’s attestation service is not of the form that every reader understands alike.',
    hint: 'Use what the service answered, byte for byte; output of a local verifier is not accepted.',
  },
  'nras-size': {
    means: 'A message of NVIDIA’s attestation service is larger than its reader allows.',
    hint: 'Check what was fetched: an answer about eight GPUs has about 17 KiB.',
  },
});

/** Far deeper than any message of the service. */
const MAX_DEPTH = 8;

const PROBLEMS: Readonly<Record<ForeignJsonProblem, string>> = {
  'too-deep': `at most ${MAX_DEPTH} levels`,
  'not-json': 'JSON',
  'duplicate-member': 'JSON with each member once',
};

function malformed(field: string, expected: string, found: string): Error {
  return nrasFormatRefusals.error('nras-malformed', { field, expected, found });
}

/** JSON whose members stand there once and whose numbers are written as digits. @throws RefusalError `nras-*`, `utf8-malformed` */
export function readNrasJson(bytes: Uint8Array, maxBytes: number, field: string): JsonValue {
  if (bytes.length > maxBytes) {
    const expected = `at most ${maxBytes} bytes`;
    throw nrasFormatRefusals.error('nras-size', { field, expected, found: `${bytes.length} bytes` });
  }
  const text = fromUtf8(bytes, field);
  const parsed = parseForeignJson(text, MAX_DEPTH);
  if (parsed.problem !== undefined) throw malformed(field, PROBLEMS[parsed.problem], excerpt(text));
  if (!parsed.hasPlainNumbers) throw malformed(field, 'numbers written as digits alone', 'another number');
  return parsed.value as JsonValue;
}

const BASE64URL = /^[A-Za-z0-9_-]*$/;

/** Base64url without padding (RFC 7515 section 2), in its one canonical spelling. @throws RefusalError `nras-malformed`, `base64-malformed` */
export function fromBase64Url(text: string, field: string): Uint8Array {
  if (!BASE64URL.test(text)) throw malformed(field, 'base64url without padding', excerpt(text));
  const padding = '='.repeat((4 - (text.length % 4)) % 4);
  return fromBase64(text.replaceAll('-', '+').replaceAll('_', '/') + padding, field);
}

type Table = Readonly<Record<string, Shape<unknown>>>;

/** An object with all members of one table and any of another. A member that is left out is not in the value either. */
export function openShape<const Required extends Table, const Optional extends Table>(
  required: Required,
  optional: Optional,
): Shape<
  { readonly [K in keyof Required]: ShapeValue<Required[K]> } & {
    readonly [K in keyof Optional]?: ShapeValue<Optional[K]>;
  }
> {
  return (value, path) => {
    const names = typeof value === 'object' && value !== null ? Object.keys(value) : [];
    const present = Object.entries(optional).filter(([name]) => names.includes(name));
    return objectShape({ ...required, ...Object.fromEntries(present) })(value, path) as never;
  };
}

/** A list of exactly two. */
export const pairShape: Shape<readonly [JsonValue, JsonValue]> = (value, path) => {
  const [first = null, second = null] = listShape({ minItems: 2, maxItems: 2 }, anyShape)(value, path);
  return [first, second];
};
