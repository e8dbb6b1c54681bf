/** Textual encoding of certificates (RFC 7468) in its strict form: one block, nothing before or after it. */

import { equalBytes, excerpt, fromBase64, fromUtf8, toBase64, toUtf8 } from './bytes.ts';
import { defineRefusals } from './refusal.ts';

export const pemRefusals = defineRefusals('malformed', {
  'pem-malformed': {
    means: 'A text that must be one PEM block is not.',
    hint: 'Send one certificate in one block, from its BEGIN line to its END line, without other text.',
  },
});

/** What every block starts with; DER never does. */
const MARK = toUtf8('-----BEGIN ');

/** Whether the bytes give themselves out as PEM. */
export function looksLikePem(bytes: Uint8Array): boolean {
  return equalBytes(bytes.subarray(0, MARK.length), MARK);
}

/**
 * Reads the content of the only block.
 *
 * @param label what the block holds, for example `CERTIFICATE`
 * @throws RefusalError `pem-malformed`, `utf8-malformed`, `base64-malformed`
 */
export function readPem(bytes: Uint8Array, label: string, field: string): Uint8Array {
  const [first, ...rest] = fromUtf8(bytes, field).replaceAll('\r\n', '\n').split('\n');
  if (rest.at(-1) === '') rest.pop();
  const last = rest.pop();
  const isOneBlock = rest.every((line) => line !== '' && !line.startsWith('-'));
  if (first !== `-----BEGIN ${label}-----` || last !== `-----END ${label}-----` || !isOneBlock) {
    throw pemRefusals.error('pem-malformed', {
      field,
      expected: `one block labelled ${label}`,
      found: excerpt(`${first ?? ''} … ${last ?? ''}`),
    });
  }
  return fromBase64(rest.join(''), field);
}

/** Writes one block with lines of 64 characters. */
export function writePem(content: Uint8Array, label: string): Uint8Array {
  const lines = toBase64(content).match(/.{1,64}/g) ?? [];
  return toUtf8([`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n'));
}
