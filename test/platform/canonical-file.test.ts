import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { isRefusal } from '../../attestation/core/refusal.ts';
import { readCanonicalFile, writeCanonicalFile } from '../../src/platform/canonical-file.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const MAX_BYTES = 100;

describe('a canonical file', () => {
  it('is read as it was written, with one line feed at its end', async () => {
    const path = join(await temporaryFolder(), 'document');
    await writeCanonicalFile(path, { b: 1, a: ['x'] }, { overwrite: false });
    expect(await readFile(path, 'utf8')).toBe('{"a":["x"],"b":1}\n');
    expect(await readCanonicalFile(path, MAX_BYTES)).toEqual({ a: ['x'], b: 1 });
  });

  it('is overwritten only when that is wanted', async () => {
    const path = join(await temporaryFolder(), 'document');
    await writeCanonicalFile(path, 1, { overwrite: false });
    const again = (): Promise<void> => writeCanonicalFile(path, 2, { overwrite: false });
    expect(await refusalCodeAsync(again)).toBe('file-exists');
    await writeCanonicalFile(path, 2, { overwrite: true });
    expect(await readCanonicalFile(path, MAX_BYTES)).toBe(2);
  });

  it.each([
    ['two line feeds', '{}\n\n', 'json-not-canonical'],
    ['a carriage return', '{}\r\n', 'json-not-canonical'],
    ['another order', '{"b":1,"a":2}\n', 'json-not-canonical'],
    ['nothing', '', 'json-malformed'],
    ['more than its bound', `"${'a'.repeat(MAX_BYTES)}"`, 'file-too-large'],
  ])('W11: refuses %s', async (_what, text, code) => {
    const path = join(await temporaryFolder(), 'document');
    await writeFile(path, text);
    expect(await refusalCodeAsync(() => readCanonicalFile(path, MAX_BYTES))).toBe(code);
  });

  it('refuses any other bytes, and does nothing else', async () => {
    const path = join(await temporaryFolder(), 'document');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        await writeFile(path, bytes);
        const outcome = await readCanonicalFile(path, MAX_BYTES).catch((error: unknown) => error);
        if (outcome instanceof Error) expect(isRefusal(outcome)).toBe(true);
      }),
    );
  });
});
