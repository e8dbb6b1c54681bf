/** Fetching a bundle to disk: there whole and verified or not at all, and resumable (SW-42). */

import { lstat, mkdir, open, rename, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

import { fileRefusals, writeFileDurably } from '../../platform/files.ts';
import { listFiles, refuseDigest } from '../files.ts';
import { MANIFEST_PATH, MAX_MANIFEST_BYTES, TAGS_HEADER_BYTES, TAGS_PATH } from '../layout.ts';
import type { ManifestTrust, SealedFile } from '../manifest.ts';
import type { PoolOptions } from '../pool.ts';
import { foldersOf } from '../paths.ts';
import { SealedBundle } from '../reader.ts';
import { systemErrorName } from '../refusals.ts';
import { readInOrder, stretchesOf } from './in-order.ts';
import { bytesKept, PartialFile, removeFile, writing } from './partial-file.ts';
import { fetchEnvironment, sourceMalformed } from './refusals.ts';
import type { BundleSource } from './source.ts';

const DIGEST_DIGITS_IN_NAME = 16;

type FetchOptions = Pick<PoolOptions, 'signal' | 'onProgress'>;

/** A file with what of it lies on disk. */
interface Fetched extends SealedFile {
  readonly kept: number;
}

/**
 * Fetches all files of a bundle.
 *
 * @param folder must not be there yet; what has come of an interrupted fetch stays beside it
 * @returns the bundle as the source has it
 * @throws RefusalError of `SealedBundle.open` and `SourceFile.read`, `sealed-file-digest`, `file-exists`,
 *   `fetch-not-written`
 */
export async function fetchBundle(
  source: BundleSource,
  trust: ManifestTrust,
  folder: string,
  options: FetchOptions = {},
): Promise<SealedBundle> {
  const target = resolve(folder);
  await refuseExisting(target);
  const bundle = await SealedBundle.open(source, trust, options.signal);
  const partial = `${target}.${bundle.manifest.digest.slice(0, DIGEST_DIGITS_IN_NAME)}.partial`;
  await writing(partial, () => prepare(partial, bundle, options.signal));
  await fetchFiles(bundle, partial, options);
  await SealedBundle.open(partial, trust);
  await refuseExisting(target);
  await writing(target, () => putInPlace(partial, target));
  return bundle;
}

async function refuseExisting(target: string): Promise<void> {
  if ((await lstat(target).catch(() => undefined)) === undefined) return;
  const facts = { field: target, expected: 'a new path', found: 'an existing one' };
  throw fileRefusals.error('file-exists', facts);
}

/** Folders, manifest and tags; whatever else an interrupted fetch has left goes. */
async function prepare(
  partial: string,
  { source, manifest, files, tags }: SealedBundle,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const path of foldersOf([...files.keys()])) await ensureFolder(join(partial, path));
  for (const path of await listFiles(partial)) {
    if (!files.has(path)) await removeFile(join(partial, path));
  }
  const limits = { [MANIFEST_PATH]: MAX_MANIFEST_BYTES, [TAGS_PATH]: TAGS_HEADER_BYTES + tags.length };
  for (const [path, maxBytes] of Object.entries(limits)) {
    // What comes now may differ from what was verified before: the folder is opened again at the end.
    const content = await source.readSmall(path, maxBytes, signal);
    if (content === undefined) refuseGrown(path, maxBytes);
    await writeFileDurably(join(partial, path), content, 0o644);
  }
  await requireSpace(partial, manifest.files);
}

async function ensureFolder(path: string): Promise<void> {
  await mkdir(path).catch((cause: unknown) => {
    if (systemErrorName(cause) !== 'EEXIST') throw cause;
  });
}

function refuseGrown(path: string, maxBytes: number): never {
  const facts = { field: path, expected: `at most ${maxBytes} bytes, as before`, found: 'more' };
  throw sourceMalformed.error('source-changed', facts);
}

async function requireSpace(partial: string, files: readonly SealedFile[]): Promise<void> {
  const { bavail, bsize } = await statfs(partial);
  let missing = 0;
  for (const file of files) missing += file.bytes - (await bytesKept(join(partial, file.path), file));
  if (missing <= bavail * bsize) return;
  throw fetchEnvironment.error('fetch-not-written', {
    field: partial,
    expected: `${missing} bytes of free space`,
    found: `${bavail * bsize} bytes`,
  });
}

/** A file that came whole and wrong is fetched once more from its beginning, past any cache. */
async function fetchFiles(bundle: SealedBundle, partial: string, options: FetchOptions): Promise<void> {
  const files: Fetched[] = [];
  for (const file of bundle.manifest.files) {
    files.push({ ...file, kept: await bytesKept(join(partial, file.path), file) });
  }
  const progress = {
    doneBytes: files.reduce((sum, { kept }) => sum + kept, 0),
    totalBytes: bundle.totalBytes,
  };
  const add = (bytes: number): void => {
    progress.doneBytes += bytes;
    options.onProgress?.({ ...progress });
  };
  const fetch = { source: bundle.source, partial, signal: options.signal, add };
  const wrong = await fetchInOrder(fetch, files, false);
  const [stillWrong] = await fetchInOrder(fetch, wrong, true);
  if (stillWrong !== undefined) refuseDigest(stillWrong, stillWrong.found);
}

interface Fetch {
  readonly source: BundleSource;
  readonly partial: string;
  readonly signal: AbortSignal | undefined;
  /** @param bytes that have come, less those that were thrown away */
  readonly add: (bytes: number) => void;
}

/** @returns the files whose digest was another, each removed */
async function fetchInOrder(
  { source, partial, signal, add }: Fetch,
  files: readonly Fetched[],
  again: boolean,
): Promise<readonly (Fetched & { readonly found: string })[]> {
  const wrong: (Fetched & { readonly found: string })[] = [];
  let current: PartialFile | undefined;
  try {
    for await (const { file, offset, content } of readInOrder(source, restOf(files), { signal, again })) {
      const place = join(partial, file.path);
      const opened = current ?? (await writing(place, () => PartialFile.open(place, file.kept)));
      current = opened;
      await writing(place, () => opened.append(content));
      add(content.length);
      if (offset + content.length < file.bytes) continue;
      current = undefined;
      const found = await writing(place, () => opened.finish());
      if (found === file.sha256) continue;
      await writing(place, () => removeFile(place));
      add(-file.bytes);
      wrong.push({ ...file, kept: 0, found });
    }
  } finally {
    await current?.leave();
  }
  return wrong;
}

function* restOf(files: readonly Fetched[]): ReturnType<typeof stretchesOf<Fetched>> {
  for (const file of files) yield* stretchesOf(file, file.kept);
}

async function putInPlace(partial: string, target: string): Promise<void> {
  await rename(partial, target);
  const parent = await open(dirname(target));
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}
