/** Text that somebody else wrote, made safe for a terminal. */

/**
 * The text on one line, without control characters, escape sequences and marks that turn the direction of writing: it
 * can neither forge another line nor hide a part of its own.
 */
export function legible(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');
}
