/**
 * Texts that a boot loader measured: its commands and the command lines of kernels (docs/spec/tpm-boot.md, BC-16). What the
 * log calls a text is not covered by any digest, so that a text is told by its bytes alone.
 */

import { concatBytes, toUtf8 } from '../../core/bytes.ts';

/** One whole text, or the words that a text may be made of; a word that ends in `=*` stands for any value. */
export type LoaderText = { readonly exact: string } | { readonly words: readonly string[] };

/** In UTF-16 the first character of a command line has a zero byte; in UTF-8 there is none. */
function isUtf16(bytes: Uint8Array): boolean {
  return bytes.length >= 2 && bytes.length % 2 === 0 && bytes[1] === 0;
}

/** The text of bytes that a digest covers, without the zeros that end it; undefined where they are no text. */
export function textOfBytes(bytes: Uint8Array): string | undefined {
  try {
    const decoder = new TextDecoder(isUtf16(bytes) ? 'utf-16le' : 'utf-8', { fatal: true, ignoreBOM: true });
    const text = decoder.decode(bytes).replace(/\0$/, '');
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  }
}

/** The forms in which loaders measure a text: each with and without the zero that ends it. */
export function measuredForms(text: string): readonly Uint8Array[] {
  const narrow = toUtf8(text);
  const wide = new Uint8Array(2 * text.length);
  const view = new DataView(wide.buffer);
  for (let i = 0; i < text.length; i += 1) view.setUint16(2 * i, text.charCodeAt(i), true);
  const ended = (bytes: Uint8Array, zeros: number): Uint8Array => concatBytes(bytes, new Uint8Array(zeros));
  return [narrow, ended(narrow, 1), wide, ended(wide, 2)];
}

/** Only printable ASCII is split into words: Linux takes other bytes for blanks too (`isspace`, A0 among them). */
const PRINTABLE = /^[\x20-\x7e]*$/;

export function isAllowedText(text: string, allowed: readonly LoaderText[]): boolean {
  return allowed.some((pattern) =>
    'exact' in pattern ? pattern.exact === text : isMadeOf(text, pattern.words),
  );
}

function isMadeOf(text: string, words: readonly string[]): boolean {
  const found = text.split(' ').filter((word) => word !== '');
  return PRINTABLE.test(text) && found.length > 0 && found.every((word) => isAllowedWord(word, words));
}

/** A value of any kind must not open a quotation: what follows would belong to it. */
function isAllowedWord(word: string, words: readonly string[]): boolean {
  return words.some((allowed) =>
    allowed.endsWith('=*') ? word.startsWith(allowed.slice(0, -1)) && !word.includes('"') : word === allowed,
  );
}

/**
 * Whether a text of GRUB or systemd-boot is the command line of a kernel, told by its first character: GRUB begins one with the
 * path of the kernel, and no command of its own begins so.
 */
export function isKernelCommandLine(text: string): boolean {
  return /^[/(]/.test(text);
}
