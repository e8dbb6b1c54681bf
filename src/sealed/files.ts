/** Files of a bundle or of a model: found without following links, opened only when they are regular files. */

import { constants } from 'node:fs';
import { open, readdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { excerpt } from '../../attestation/core/bytes.ts';
import { CHUNK_BYTES, MAX_FILES } from './layout.ts';
import { sealedEnvironment, sealedInauthentic, sealedMalformed, systemErrorName } from './refusals.ts';

/** A FIFO does not block the opening; it is refused by its kind afterwards. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Folders a bundle may hold: as many as its files could need at two levels each. */
const MAX_FOLDERS = 2 * MAX_FILES;

export function refuseUnreadable(path: string, cause: unknown): never {
  throw sealedEnvironment.error(
    'sealed-not-readable',
    { field: excerpt(path), expected: 'a readable file', found: systemErrorName(cause) },
    { cause },
  );
}

export function refuseKind(path: string): never {
  throw sealedMalformed.error('sealed-file-kind', {
    field: excerpt(path),
    expected: 'a regular file',
    found: 'a symbolic link or special file',
  });
}

/** What a failure to find or open a file means. */
export function refuseMissing(path: string, cause: unknown): never {
  const name = systemErrorName(cause);
  if (name === 'ELOOP') return refuseKind(path);
  if (name !== 'ENOENT') return refuseUnreadable(path, cause);
  throw sealedMalformed.error(
    'sealed-file-missing',
    { field: excerpt(path), expected: 'a file', found: 'nothing' },
    { cause },
  );
}

interface OpenedFile {
  readonly handle: FileHandle;
  readonly bytes: number;
}

/**
 * Opens one file of a folder.
 *
 * @returns the handle, which the caller closes, and the size at this moment
 * @throws RefusalError `sealed-file-missing`, `sealed-file-kind`, `sealed-not-readable`
 */
export async function openRegularFile(folder: string, path: string): Promise<OpenedFile> {
  return await openFileAt(join(folder, path), path);
}

/**
 * As `openRegularFile`, of a file that lies elsewhere than its path says.
 *
 * @param place where it lies
 * @param path by which refusals name it
 */
export async function openFileAt(place: string, path: string): Promise<OpenedFile> {
  const handle = await open(place, READ_FLAGS).catch((cause: unknown) => refuseMissing(path, cause));
  try {
    const status = await handle.stat();
    if (!status.isFile()) refuseKind(path);
    return { handle, bytes: status.size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Fills the target from a file.
 *
 * @throws RefusalError `sealed-file-size` when the file ends before, `sealed-not-readable`
 */
export async function readFully(
  handle: FileHandle,
  target: Uint8Array,
  offset: number,
  path: string,
): Promise<void> {
  let filled = 0;
  while (filled < target.length) {
    const { bytesRead } = await handle
      .read(target, filled, target.length - filled, offset + filled)
      .catch((cause: unknown) => refuseUnreadable(path, cause));
    if (bytesRead === 0) refuseSize(path, offset + target.length, offset + filled);
    filled += bytesRead;
  }
}

export function refuseSize(path: string, expected: number, found: number): never {
  throw sealedMalformed.error('sealed-file-size', {
    field: excerpt(path),
    expected: `${expected} bytes`,
    found: `${found} bytes`,
  });
}

export function refuseDigest({ path, sha256 }: { path: string; sha256: string }, found: string): never {
  throw sealedInauthentic.error('sealed-file-digest', { field: excerpt(path), expected: sha256, found });
}

/** SW-21: names the file and where the chunk starts. */
export function refuseChunk(path: string, index: number): never {
  throw sealedInauthentic.error('sealed-chunk-tag', {
    field: `${excerpt(path)}@${index * CHUNK_BYTES}`,
    expected: `chunk ${index} as it was sealed`,
    found: 'other bytes, or another tag',
  });
}

export interface ListingRules {
  /** Whether a file or folder is left out, with all that is in it. */
  readonly skips?: (path: string) => boolean;
  /** Refuses a symbolic link that is no file of the folder. Without it every link is refused. */
  readonly checkLink?: (path: string) => Promise<unknown>;
}

/**
 * All files below a folder, as relative paths, in no particular order.
 *
 * @throws RefusalError `sealed-file-kind`, `sealed-limit`, `sealed-not-readable`
 */
export async function listFiles(
  root: string,
  { skips = () => false, checkLink = refuseKind }: ListingRules = {},
): Promise<readonly string[]> {
  const files: string[] = [];
  const folders = [''];
  for (let i = 0; i < folders.length; i += 1) {
    const folder = folders[i] ?? '';
    const entries = await readdir(join(root, folder), { withFileTypes: true }).catch((cause: unknown) =>
      refuseUnreadable(folder === '' ? root : folder, cause),
    );
    for (const entry of entries) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (skips(path)) continue;
      if (entry.isSymbolicLink()) await checkLink(path);
      else if (!entry.isDirectory() && !entry.isFile()) refuseKind(path);
      (entry.isDirectory() ? folders : files).push(path);
    }
    if (files.length > MAX_FILES + 2 || folders.length > MAX_FOLDERS) refuseCount(root);
  }
  return files;
}

function refuseCount(root: string): never {
  throw sealedMalformed.error('sealed-limit', {
    field: excerpt(root),
    expected: `at most ${MAX_FILES} files`,
    found: 'more',
  });
}
