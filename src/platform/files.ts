/** Files of the operator: written whole or not at all, and read with a bound. */

import { constants } from 'node:fs';
import { link, open, rename, rm, type FileHandle } from 'node:fs/promises';
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

const PERMISSION_BITS = 0o7777;

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown';
}

/**
 * Writes a file so that after a crash it holds either the old or all of the new content: temporary file in the same
 * folder, fsync, rename or link, fsync of the folder.
 *
 * @param mode permission bits, for example 0o600 for anything secret
 * @param overwrite `false` refuses when the path exists, also when another process makes it meanwhile
 * @throws RefusalError `file-exists`, `file-not-written`
 */
export async function writeFileDurably(
  path: string,
  bytes: Uint8Array,
  mode: number,
  options: { readonly overwrite?: boolean } = {},
): Promise<void> {
  await produceFileDurably(path, mode, options, async (file) => {
    await file.writeFile(bytes);
  });
}

/**
 * Writes a file as `writeFileDurably` does, whose content comes piece by piece. Where producing it fails, nothing is
 * left behind.
 *
 * @param produce appends to the file
 * @throws RefusalError `file-exists`, `file-not-written`, and what `produce` throws
 */
export async function produceFileDurably<T>(
  path: string,
  mode: number,
  { overwrite = true }: { readonly overwrite?: boolean },
  produce: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const temporary = join(dirname(path), `.${randomUUID()}.partial`);
  try {
    const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    let produced: T;
    try {
      produced = await produce(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await (overwrite ? rename(temporary, path) : linkToNewPath(temporary, path));
    await syncFolder(dirname(path));
    return produced;
  } catch (cause) {
    // Where the parent is no folder there is nothing to remove, and rm says so.
    await rm(temporary, { force: true }).catch(() => undefined);
    // What is no failure of the system is not about the file: a refusal, an interrupt.
    if (errorCode(cause) === 'unknown') throw cause;
    const facts = { field: path, expected: 'a file written completely', found: errorCode(cause) };
    throw fileRefusals.error('file-not-written', facts, { cause });
  }
}

/** Unlike rename, link never replaces: that nothing is there and that the file is there now are one step. */
async function linkToNewPath(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (cause) {
    if (errorCode(cause) !== 'EEXIST') throw cause;
    const facts = { field: path, expected: 'a new path', found: 'something there already' };
    throw fileRefusals.error('file-exists', facts, { cause });
  }
  await rm(temporary);
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
  return (await readFileWithMode(path, maxBytes)).bytes;
}

/** A file's content and the permission bits it had when it was read. */
export interface FileWithMode {
  readonly bytes: Uint8Array;
  readonly mode: number;
}

/**
 * Reads a regular file of bounded size, and of the same open file, whatever its path names by then, who may read it.
 *
 * @throws RefusalError `file-not-found`, `file-not-readable`, `file-too-large`
 */
export async function readFileWithMode(path: string, maxBytes: number): Promise<FileWithMode> {
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
    return { bytes: bytes.subarray(0, bytesRead), mode: status.mode & PERMISSION_BITS };
  } finally {
    await file.close();
  }
}

/**
 * Reads the beginning of a file or of a block device, whose size nobody can tell beforehand.
 *
 * @returns fewer bytes where it ends before
 * @throws RefusalError `file-not-found`, `file-not-readable`
 */
export async function readFileStart(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await openForReading(path);
  try {
    const status = await file.stat();
    if (!status.isFile() && !status.isBlockDevice()) {
      const facts = { field: path, expected: 'a regular file or a block device', found: 'something else' };
      throw fileRefusals.error('file-not-readable', facts);
    }
    const bytes = new Uint8Array(maxBytes);
    const { bytesRead } = await file.read(bytes, 0, maxBytes, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** @throws RefusalError `file-not-found`, `file-not-readable` */
export async function openForReading(path: string): Promise<FileHandle> {
  try {
    // Without O_NONBLOCK, opening a FIFO waits for a writer, perhaps for ever.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    const code = errorCode(cause) === 'ENOENT' ? 'file-not-found' : 'file-not-readable';
    throw fileRefusals.error(
      code,
      { field: path, expected: 'a readable file', found: errorCode(cause) },
      { cause },
    );
  }
}
