import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { readLines } from '../../src/platform/lines.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

async function linesOf(path: string, maxBytes: number): Promise<readonly string[]> {
  const lines: string[] = [];
  for await (const line of readLines(path, maxBytes)) lines.push(Buffer.from(line).toString('latin1'));
  return lines;
}

describe('lines of a file', () => {
  it('W11: are what the file has, whatever it holds and wherever it is read in two', async () => {
    const path = join(await temporaryFolder(), 'file');
    const piece = fc.oneof(
      fc.constant('\n'),
      fc.string({ maxLength: 20, unit: fc.constantFrom('a', '\r', '\0', '\u00ff', '\n') }),
      // Together longer than what is read at a time.
      fc.constantFrom('x'.repeat(600_000), 'y'.repeat(448_576)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
        const text = pieces.join('');
        await writeFile(path, text, 'latin1');
        const lines = await linesOf(path, 1 << 24);
        expect(lines.join('') === text).toBe(true);
        expect(lines.slice(0, -1).every((line) => line.indexOf('\n') === line.length - 1)).toBe(true);
        expect(lines.length).toBe(text.split('\n').length - (text === '' || text.endsWith('\n') ? 1 : 0));
      }),
      { numRuns: 40 },
    );
  });

  it('W11: are bounded, the last one too', async () => {
    const path = join(await temporaryFolder(), 'file');
    for (const text of ['1234\n12345\n1\n', '12345', `${'1'.repeat(3 << 20)}\n`]) {
      await writeFile(path, text);
      expect(await refusalCodeAsync(() => linesOf(path, 5))).toBe(
        text === '12345' ? 'accepted' : 'line-too-long',
      );
    }
    await writeFile(path, '123456');
    expect(await refusalCodeAsync(() => linesOf(path, 5))).toBe('line-too-long');
  });

  it('W11: are those of a regular file', async () => {
    const folder = await temporaryFolder();
    expect(await refusalCodeAsync(() => linesOf(folder, 5))).toBe('file-not-readable');
    expect(await refusalCodeAsync(() => linesOf(join(folder, 'none'), 5))).toBe('file-not-found');
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    expect(await refusalCodeAsync(() => linesOf(join(folder, 'pipe'), 5))).toBe('file-not-readable');
  });
});
