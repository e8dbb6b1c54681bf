/**
 * JSON Web Tokens in their compact form (RFC 7515, RFC 7519), signed with Ed25519 (RFC 8037): the one form of token that
 * this project writes. Every other algorithm is refused, and the algorithm is never taken from the token. Header and
 * payload are canonical JSON, so that one token has one byte form.
 */

import { createHash } from 'node:crypto';

import { excerpt, fromBase64, fromUtf8, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { literalShape, objectShape, textShape } from '../../attestation/core/json-shape.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { toBase64Url } from '../../attestation/core/signature.ts';
import type { Ed25519Signer } from './ed25519.ts';

export const tokenRefusals = defineRefusals('malformed', {
  'token-malformed': {
    means: 'A text is not a token in compact form: three parts of base64url with dots between them.',
    hint: 'Give the whole token, as it was received, without spaces and line breaks inside.',
  },
});

/** RFC 9782: the token is an EAT. */
const TOKEN_TYPE = 'eat+jwt';

const headerShape = objectShape({
  alg: literalShape('EdDSA'),
  kid: textShape({ pattern: /^[0-9a-f]{64}$/ }),
  typ: literalShape(TOKEN_TYPE),
});

/** What a token claims. */
export interface ClaimedToken {
  /** SHA-256 of the key that is said to have signed, in hex. */
  readonly keyIdentifier: string;
  readonly payload: JsonValue;
  readonly signingInput: Uint8Array;
  readonly signature: Uint8Array;
}

/** How tokens name a key: lower-case hex SHA-256 of its 32 bytes, as RP-16 does. */
export function keyIdentifierOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex');
}

/** Signs a payload. @throws RefusalError `json-malformed` */
export async function signToken(payload: JsonValue, signer: Ed25519Signer): Promise<string> {
  const header = { alg: 'EdDSA', kid: keyIdentifierOf(signer.publicKey), typ: TOKEN_TYPE };
  const input = [header, payload].map((part) => toBase64Url(encodeCanonicalJson(part))).join('.');
  return `${input}.${toBase64Url(await signer.sign(toUtf8(input)))}`;
}

/**
 * Reads a token; nothing of it is verified.
 *
 * @param text from outside
 * @throws RefusalError `token-malformed`, `json-*`, `shape-*`, `base64-malformed`, `utf8-malformed`
 */
export function readToken(text: string, limits: { readonly maxBytes: number }, field: string): ClaimedToken {
  const [header, payload, signature, ...more] = text.length > 2 * limits.maxBytes ? [] : text.split('.');
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) {
    const expected = `three parts, of at most ${limits.maxBytes} bytes`;
    throw tokenRefusals.error('token-malformed', { field, expected, found: excerpt(text) });
  }
  const part = (encoded: string, name: string): JsonValue =>
    decodeCanonicalJson(fromBase64Url(encoded, `${field}.${name}`), limits, `${field}.${name}`);
  return {
    keyIdentifier: headerShape(part(header, 'header'), `${field}.header`).kid,
    payload: part(payload, 'payload'),
    signingInput: toUtf8(`${header}.${payload}`),
    signature: fromBase64Url(signature, `${field}.signature`),
  };
}

/** Base64url without padding (RFC 7515, section 2), one text for each byte string. @throws RefusalError */
export function fromBase64Url(text: string, field: string): Uint8Array {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) {
    const facts = { field, expected: 'base64url without padding', found: excerpt(text) };
    throw tokenRefusals.error('token-malformed', facts);
  }
  const standard = text.replaceAll('-', '+').replaceAll('_', '/');
  return fromBase64(standard.padEnd(4 * Math.ceil(standard.length / 4), '='), field);
}

/** The text of a token in a file: one line, of which the line feed does not count. @throws RefusalError */
export function tokenOfFile(bytes: Uint8Array, field: string): string {
  return fromUtf8(bytes, field).replace(/\n$/, '');
}

/** Bytes in base64url as hex. @throws RefusalError */
export function base64UrlToHex(text: string, field: string): string {
  return toHex(fromBase64Url(text, field));
}
