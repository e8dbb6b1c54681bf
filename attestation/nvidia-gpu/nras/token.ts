/** A JSON Web Token in its compact form (RFC 7515 section 7.1), as its bytes claim it. */

import { excerpt, toUtf8 } from '../../core/bytes.ts';
import type { JsonValue } from '../../core/canonical-json.ts';
import { anyShape, objectShape, textShape } from '../../core/json-shape.ts';
import { fromBase64Url, nrasFormatRefusals, openShape, readNrasJson } from './format.ts';

export interface ClaimedToken {
  /** As it was received: what a digest is over. */
  readonly compact: Uint8Array;
  /** The algorithm that the token asks for. It never chooses one. */
  readonly algorithm: string;
  readonly header: JsonValue;
  readonly payload: JsonValue;
  /** Header and payload as they were signed. */
  readonly signingInput: Uint8Array;
  readonly signature: Uint8Array;
}

const MAX_TOKEN_CHARACTERS = 32 * 1024;

/** Before anything else: a token of another algorithm has another header too. */
const algorithmShape = openShape(
  { alg: textShape({ pattern: /^.{1,32}$/ }) },
  { kid: anyShape, typ: anyShape },
);

/** The service writes these two and nothing else. */
const headerShape = objectShape({
  alg: textShape({ pattern: /^ES384$/ }),
  kid: textShape({ pattern: /^[A-Za-z0-9._-]{1,128}$/ }),
});

/** @throws RefusalError `nras-*`, `shape-*`, `base64-malformed`, `utf8-malformed` */
export function readToken(text: string, field: string): ClaimedToken {
  if (text.length > MAX_TOKEN_CHARACTERS) {
    const expected = `at most ${MAX_TOKEN_CHARACTERS} characters`;
    throw nrasFormatRefusals.error('nras-size', { field, expected, found: `${text.length} characters` });
  }
  const [header, payload, signature, ...more] = text.split('.');
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) {
    const expected = 'three parts with a dot between them';
    throw nrasFormatRefusals.error('nras-malformed', { field, expected, found: excerpt(text) });
  }
  const claimedHeader = readPart(header, `${field}.header`);
  return {
    compact: toUtf8(text),
    algorithm: algorithmShape(claimedHeader, `${field}.header`).alg,
    header: claimedHeader,
    payload: readPart(payload, `${field}.payload`),
    signingInput: toUtf8(`${header}.${payload}`),
    signature: fromBase64Url(signature, `${field}.signature`),
  };
}

function readPart(text: string, field: string): JsonValue {
  return readNrasJson(fromBase64Url(text, field), MAX_TOKEN_CHARACTERS, field);
}

/** Which key a token names. @throws RefusalError `shape-*` when its header is not that of a token of the service */
export function keyIdOf({ header }: ClaimedToken, field: string): string {
  return headerShape(header, `${field}.header`).kid;
}
