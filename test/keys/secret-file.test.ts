import { chmod, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';

import { readSecretFile, writeSecretFile } from '../../src/keys/secret-file.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const schema = z.strictObject({ secret: z.string() });

/** What each handle has in common, so that a test can act between its opening and its reading. */
async function prototypeOfHandles(path: string): Promise<{ stat: () => Promise<unknown> }> {
  const handle = await open(path);
  await handle.close();
  return Object.getPrototypeOf(handle) as { stat: () => Promise<unknown> };
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a file with secrets', () => {
  it('KC-1: is read back by its owner, and refused when others may read it', async () => {
    const path = join(await temporaryFolder(), 'file');
    await writeSecretFile(path, { secret: 'x' });
    expect(await readSecretFile(path, schema)).toEqual({ secret: 'x' });
    await chmod(path, 0o604);
    expect(await refusalCodeAsync(() => readSecretFile(path, schema))).toBe('key-file-exposed');
  });

  it('KC-1: the mode is that of the file that was read, not of one that took its path', async () => {
    const folder = await temporaryFolder();
    const [path, other] = [join(folder, 'file'), join(folder, 'other')];
    await writeSecretFile(path, { secret: 'exposed' });
    await writeSecretFile(other, { secret: 'kept' });
    await chmod(path, 0o644);
    const handles = await prototypeOfHandles(path);
    const stat = handles.stat;
    const swapping = vi.spyOn(handles, 'stat').mockImplementation(async function (this: unknown) {
      await rename(other, path);
      return await stat.call(this as never);
    });
    expect(await refusalCodeAsync(() => readSecretFile(path, schema))).toBe('key-file-exposed');
    expect(swapping).toHaveBeenCalledOnce();
  });
});
