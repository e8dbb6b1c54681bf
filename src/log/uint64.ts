/** Unsigned integers of 64 bits in text, as sizes and indexes of logs are written (TL-2). */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const uint64Refusals = defineRefusals('malformed', {
  'log-number-malformed': {
    means: 'A size or an index is not a decimal number of 64 bits.',
    hint: 'Write ASCII digits without sign, space or leading zero, below 2^64.',
  },
});

const DECIMAL = /^(?:0|[1-9][0-9]{0,19})$/;
const LIMIT = 1n << 64n;

/**
 * @param text comes from whoever wrote the note or path
 * @throws RefusalError `log-number-malformed`
 */
export function parseUint64(text: string, field: string): bigint {
  // BigInt alone would take '', ' 3' and '0x3'.
  const value = DECIMAL.test(text) ? BigInt(text) : LIMIT;
  if (value >= LIMIT) {
    throw uint64Refusals.error('log-number-malformed', {
      field,
      expected: 'a decimal number below 2^64',
      found: excerpt(text),
    });
  }
  return value;
}
