/** Tables for spreadsheets (RFC 4180), from text that somebody else wrote. */

import { legible } from '../platform/legible.ts';

/** What spreadsheets take for a formula at the beginning of a cell, also after spaces and in its wide form. */
const FORMULA = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]/u;

/** One record without its line end; every cell is quoted, and none is run by whatever opens the table. */
export function csvRecord(cells: readonly string[]): string {
  return cells.map(csvCell).join(',');
}

function csvCell(text: string): string {
  const line = legible(text);
  const inert = FORMULA.test(line) ? `'${line}` : line;
  return `"${inert.replaceAll('"', '""')}"`;
}
