/**
 * The layouts in which programs of the Hugging Face hub keep what they have fetched: a cache of blobs with folders of
 * links, and a plain folder with their own notes in it (SW-31, SW-32).
 */

import type { Stats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

const REPOSITORY = /^(?:models|datasets)--/;
/** SHA-1 for what the hub keeps in git, SHA-256 for large files; here no more than a name. */
const BLOB_NAME = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
const NOTES = '.cache/huggingface';
/** The last is where a model signature is published (SW-60). */
const CARD_FILES: readonly string[] = ['.gitattributes', 'README.md', 'model.sig'];

/** What a folder may hold beside regular files of the manifest. */
export interface FolderLayout {
  /** Folder into which links may lead; undefined where no link is followed. */
  readonly blobs: string | undefined;
  /** Whether files that the hub itself adds may stand there. */
  readonly isFromHub: boolean;
}

/** @param folder without links in its path */
export async function layoutOf(folder: string): Promise<FolderLayout> {
  const snapshots = dirname(folder);
  const repository = dirname(snapshots);
  if (basename(snapshots) === 'snapshots' && REPOSITORY.test(basename(repository))) {
    const blobs = join(repository, 'blobs');
    return { blobs: (await isFolder(blobs)) ? blobs : undefined, isFromHub: true };
  }
  return { blobs: undefined, isFromHub: await isFolder(join(folder, NOTES)) };
}

async function isFolder(path: string): Promise<boolean> {
  const status = await lstat(path).catch((): Stats | undefined => undefined);
  return status?.isDirectory() === true;
}

/** Whether a path is the hub's own: such files are neither opened nor refused. */
export function isHubFile(path: string): boolean {
  return CARD_FILES.includes(path) || path === NOTES;
}

/**
 * Where a link leads, by its text alone.
 *
 * @param place of the link
 * @param text of the link; whoever wrote the folder controls it
 * @returns undefined when that is not a blob of the repository
 */
export function blobOf(blobs: string, place: string, text: string): string | undefined {
  if (text.startsWith('/')) return undefined;
  const target = resolve(dirname(place), text);
  return dirname(target) === blobs && BLOB_NAME.test(basename(target)) ? target : undefined;
}
