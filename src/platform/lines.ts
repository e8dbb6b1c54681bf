/** Lines of a file that somebody else wrote, with a bound on each. */

import { concatBytes } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { fileRefusals, openForReading } from './files.ts';

export const lineRefusals = defineRefusals('malformed', {
  'line-too-long': {
    means: 'A line of a file is longer than any line of its kind can be.',
    hint: 'Check that the path names the file you meant.',
  },
});

const LINE_FEED = 0x0a;
const PIECE_BYTES = 1 << 20;

/**
 * The lines of a regular file, each with its line feed; the last one may lack it.
 *
 * @param maxBytes of one line
 * @returns views that hold until the next one is asked for
 * @throws RefusalError `line-too-long`, `file-not-found`, `file-not-readable`
 */
export async function* readLines(
  path: string,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await openForReading(path);
  try {
    if (!(await file.stat()).isFile()) {
      const facts = { field: path, expected: 'a regular file', found: 'something else' };
      throw fileRefusals.error('file-not-readable', facts);
    }
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    let rest: Uint8Array = new Uint8Array(0);
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, null);
      if (bytesRead === 0) break;
      const read = piece.subarray(0, bytesRead);
      let start = 0;
      for (let at = read.indexOf(LINE_FEED); at >= 0; at = read.indexOf(LINE_FEED, start)) {
        const tail = read.subarray(start, at + 1);
        yield checkLength(path, rest.length === 0 ? tail : concatBytes(rest, tail), maxBytes);
        rest = new Uint8Array(0);
        start = at + 1;
      }
      rest = checkLength(path, concatBytes(rest, read.subarray(start)), maxBytes);
    }
    if (rest.length > 0) yield rest;
  } finally {
    await file.close();
  }
}

function checkLength(path: string, line: Uint8Array, maxBytes: number): Uint8Array {
  if (line.length <= maxBytes) return line;
  const facts = { field: path, expected: `lines of at most ${maxBytes} bytes`, found: 'a longer one' };
  throw lineRefusals.error('line-too-long', facts);
}
