/**
 * PCR 8 and PCR 9 of GRUB: each command that it runs and the command line of a kernel, and each file that it reads (GNU GRUB
 * manual, "Measuring boot components"). Commands are measured as they are run, with variables replaced; only the log of
 * such a boot, or a careful author, knows them.
 */

import { concatBytes, excerpt, toUtf8 } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import type { TpmHash } from '../hash.ts';
import { measure } from './events.ts';
import type { ExpectedEvent } from './events.ts';

export const grubRefusals = defineRefusals('malformed', {
  'grub-line': {
    means: 'A line is none that GRUB writes into the boot event log for PCR 8.',
    hint: 'Give the lines of the log in their order: "grub_cmd: …" for a command, "kernel_cmdline: …" for a kernel.',
  },
});

const TEXTS_PCR = 8;
const FILES_PCR = 9;

/** How a line begins, and whether a zero byte is measured behind its text. Those without a colon are older Red Hat builds. */
const LINES = [
  { prefix: 'grub_cmd: ', withZero: false },
  { prefix: 'kernel_cmdline: ', withZero: false },
  { prefix: 'module_cmdline: ', withZero: false },
  { prefix: 'grub_cmd ', withZero: true },
  { prefix: 'grub_kernel_cmdline ', withZero: false },
] as const;

/**
 * @param lines as the boot event log shows them, in order
 * @throws RefusalError `grub-line`
 */
export function expectGrubLines(lines: readonly string[], bank: TpmHash): readonly ExpectedEvent[] {
  return lines.map((line) => {
    const form = LINES.find(({ prefix }) => line.startsWith(prefix)) ?? refuseLine(line);
    const text = toUtf8(line.slice(form.prefix.length));
    const zero = new Uint8Array(form.withZero ? 1 : 0);
    return measure(TEXTS_PCR, excerpt(line), concatBytes(text, zero), bank);
  });
}

function refuseLine(line: string): never {
  throw grubRefusals.error('grub-line', {
    field: 'grub lines',
    expected: LINES.map(({ prefix }) => `"${prefix}…"`).join(', '),
    found: excerpt(line),
  });
}

export interface GrubFile {
  readonly name: string;
  readonly content: Uint8Array;
}

/** @param files as often and in the order in which GRUB reads them */
export function expectGrubFiles(files: readonly GrubFile[], bank: TpmHash): readonly ExpectedEvent[] {
  return files.map(({ name, content }) => measure(FILES_PCR, `file ${excerpt(name)}`, content, bank));
}
