/** Files of the operator: written whole or not at all, and read with a bound. */

import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomUUID } from 'node:crypto';

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const fileRefusals = defineRefusals('environment', {
  'file-not-found': { means: 'A file that is needed is not there.', hint: 'Check the path.' },
  'file-not-readable': {
    means: 'A file is there but cannot be read as what it should be.',
    hint: 'Check that it is a regular file and that this user may read it.',
  },
  'file-too-large': {
    means: 'A file is larger than anything of its kind can be.',
    hint: 'Check that the path names the file you meant.',
  },
  'file-exists': {
    means: 'A file or folder that would be made is there already.',
    hint: 'Nothing was overwritten. Choose another path, or remove the old one yourself.',
  },
  'file-not-written': {
    means: 'A file could not be written completely.',
    hint: 'Check free space and permissions; nothing partial was left behind.',
  },
});

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown';
}

/**
 * Writes a file so that after a crash it holds either the old or all of the new content: temporary file in the same
 * folder, fsync, rename, fsync of the folder.
 *
 * @param mode permission bits, for example 0o600 for anything secret
 * @param overwrite `false` refuses when the path exists
 * @throws RefusalError `file-exists`, `file-not-written`
 */
export async function writeFileDurably(
  path: string,
  bytes: Uint8Array,
  mode: number,
  { overwrite = true }: { readonly overwrite?: boolean } = {},
): Promise<void> {
  const temporary = join(dirname(path), `.${randomUUID()}.partial`);
  try {
    if (!overwrite) await refuseExisting(path);
    const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    // Where the parent is no folder there is nothing to remove, and rm says so.
    await rm(temporary, { force: true }).catch(() => undefined);
    if (cause instanceof Error && cause.name === 'RefusalError') throw cause;
    throw fileRefusals.error(
      'file-not-written',
      { field: path, expected: `${bytes.length} bytes written`, found: errorCode(cause) },
      { cause },
    );
  }
}

async function refuseExisting(path: string): Promise<void> {
  try {
    const existing = await open(path, constants.O_RDONLY);
    await existing.close();
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT') return;
    throw cause;
  }
  throw fileRefusals.error('file-exists', { field: path, expected: 'a new path', found: 'an existing file' });
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * Reads a regular file of bounded size.
 *
 * @throws RefusalError `file-not-found`, `file-not-readable`, `file-too-large`
 */
export async function readFileBounded(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await openForReading(path);
  try {
    const status = await file.stat();
    if (!status.isFile()) {
      throw fileRefusals.error('file-not-readable', {
        field: path,
        expected: 'a regular file',
        found: 'something else',
      });
    }
    if (status.size > maxBytes) {
      throw fileRefusals.error('file-too-large', {
        field: path,
        expected: `at most ${maxBytes} bytes`,
        found: `${status.size} bytes`,
      });
    }
    const bytes = new Uint8Array(status.size);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function openForReading(path: string): Promise<Awaited<ReturnType<typeof open>>> {
  try {
    return await open(path, constants.O_RDONLY);
  } catch (cause) {
    const code = errorCode(cause) === 'ENOENT' ? 'file-not-found' : 'file-not-readable';
    throw fileRefusals.error(
      code,
      { field: path, expected: 'a readable file', found: errorCode(cause) },
      { cause },
    );
  }
}
