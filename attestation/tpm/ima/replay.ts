/**
 * Replay of a measurement list against a quoted register. The list grows while it is read, so that a quote may be older
 * than its end: the entries up to the quote are proven, the rest is not and is dropped.
 */

import { concatBytes, equalBytes, toHex } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import type { TpmHash } from '../hash.ts';
import type { ImaEntry } from './read.ts';

export const imaReplayRefusals = defineRefusals('inauthentic', {
  'ima-replay': {
    means: 'No beginning of a measurement list leads to the register that the TPM signed.',
    hint: 'Read the list after the quote was made; a kernel before 5.8 extends the SHA-1 value and is not accepted.',
  },
});

/**
 * The entries that lead to the quoted value: the shortest beginning of the list. A kernel of 5.8 or later extends each bank
 * with the bank's own hash of the template data, and with all bits set for a violation.
 *
 * @param quoted PCR 10 by an authentic quote
 * @throws RefusalError `ima-replay`
 */
export function provenEntries(
  entries: readonly ImaEntry[],
  bank: TpmHash,
  pcr: number,
  quoted: Uint8Array,
): readonly ImaEntry[] {
  let value: Uint8Array = new Uint8Array(bank.bytes);
  for (const [index, entry] of entries.entries()) {
    if (entry.pcr !== pcr) continue;
    value = bank.digest(concatBytes(value, extension(entry, bank)));
    if (equalBytes(value, quoted)) return entries.slice(0, index + 1);
  }
  throw imaReplayRefusals.error('ima-replay', {
    field: `ima PCR ${pcr}`,
    expected: toHex(quoted),
    found: `${toHex(value)} after ${entries.length} entries`,
  });
}

function extension({ isViolation, data }: ImaEntry, bank: TpmHash): Uint8Array {
  return isViolation ? new Uint8Array(bank.bytes).fill(0xff) : bank.digest(data);
}
