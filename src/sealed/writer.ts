/** Sealing a folder into a bundle: whole or not at all (docs/spec/sealed-weights.md SW-24, SW-26). */

import { createHash, randomFillSync, randomUUID } from 'node:crypto';
import { lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';

import { toHex } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { KeyMemory } from '../../native/memory/key-memory.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';
import { fileRefusals, writeFileDurably } from '../platform/files.ts';
import { readShape } from '../platform/shape.ts';
import { checkContents } from './contents.ts';
import { listFiles, openRegularFile, readFully, refuseUnreadable } from './files.ts';
import { deriveFileKeys, deriveKeyCommitment } from './keys.ts';
import {
  chunkCount,
  DIGEST_BYTES,
  KEY_BYTES,
  MANIFEST_PATH,
  SALT_BYTES,
  TAG_BYTES,
  TAGS_PATH,
} from './layout.ts';
import { checkLimits, modelNameSchema, signManifest, type ModelName, type SealedFile } from './manifest.ts';
import { checkPaths, comparePaths } from './paths.ts';
import { runPool, type PoolOptions } from './pool.ts';
import { sealedEnvironment, sealedUsage, systemErrorName } from './refusals.ts';
import type { SealFile, SealWork } from './seal-worker.ts';
import { encodeTags, totalChunks } from './tags.ts';

const SEAL_WORKER = new URL('./seal-worker.ts', import.meta.url);

export interface SealOptions extends PoolOptions {
  readonly model: ModelName;
  /** Stays the caller's. */
  readonly modelKey: KeyMemory;
  readonly signers: readonly Ed25519Signer[];
  /**
   * Where the salt comes from, for tests alone: two sealings of different files under one key and one salt would
   * use nonces twice.
   */
  readonly fillRandom?: ((bytes: Uint8Array) => void) | undefined;
}

export interface SealedResult {
  /** Lower-case hex; by this the bundle is registered and granted. */
  readonly manifestDigest: string;
  readonly files: readonly SealedFile[];
  readonly totalBytes: number;
}

/** A file of the source folder. */
type SourceFile = Omit<SealedFile, 'sha256'>;

/**
 * Seals all files of a folder.
 *
 * @param source the model's folder
 * @param target where the bundle shall stand; must not be there yet
 * @throws RefusalError `sealed-*`, `weights-*`, `file-exists`, `shape-mismatch`, `memory-*`; nothing is left behind
 */
export async function sealFolder(
  source: string,
  target: string,
  options: SealOptions,
): Promise<SealedResult> {
  const model = readShape(modelNameSchema, options.model, 'model');
  await checkTarget(source, target);
  const files = await listSource(source);
  const partial = `${resolve(target)}.partial-${randomUUID()}`;
  try {
    const result = await writeBundle(source, partial, files, { ...options, model });
    await rename(partial, target);
    await syncFolder(dirname(resolve(target)));
    return result;
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    if (isRefusal(error)) throw error;
    throw sealedEnvironment.error(
      'sealed-not-written',
      { field: target, expected: 'the bundle written', found: systemErrorName(error) },
      { cause: error },
    );
  }
}

async function checkTarget(source: string, target: string): Promise<void> {
  const outer = relative(resolve(source), resolve(target));
  const inner = relative(resolve(target), resolve(source));
  const isInside = [outer, inner].some((path) => path === '' || !(path === '..' || path.startsWith('../')));
  if (isInside) {
    throw sealedUsage.error('sealed-output-inside-source', {
      field: target,
      expected: 'a folder outside of the model, and not around it',
      found: resolve(source),
    });
  }
  const existing = await lstat(target).catch(() => undefined);
  if (existing !== undefined) {
    throw fileRefusals.error('file-exists', {
      field: target,
      expected: 'a new path',
      found: 'an existing one',
    });
  }
}

/** The files to seal, in the order of SW-17, each read by its strict reader where it has one. */
async function listSource(source: string): Promise<readonly SourceFile[]> {
  const paths = (await listFiles(source)).toSorted(comparePaths);
  if (paths.length === 0) {
    throw sealedUsage.error('sealed-source-empty', { field: source, expected: 'files', found: 'none' });
  }
  checkPaths(paths);
  const files: SourceFile[] = [];
  for (const path of paths) files.push(await inspectSource(source, path));
  checkLimits(files.map(({ bytes }) => bytes));
  return files;
}

async function inspectSource(source: string, path: string): Promise<SourceFile> {
  const { handle, bytes } = await openRegularFile(source, path);
  try {
    await checkContents(path, bytes, async (offset, length) => {
      const range = new Uint8Array(length);
      await readFully(handle, range, offset, path);
      return range;
    });
    return { path, bytes, chunks: chunkCount(bytes) };
  } finally {
    await handle.close();
  }
}

async function writeBundle(
  source: string,
  folder: string,
  files: readonly SourceFile[],
  options: SealOptions,
): Promise<SealedResult> {
  await makeFolders(folder, files);
  const salt = new Uint8Array(SALT_BYTES);
  (options.fillRandom ?? randomFillSync)(salt);
  const { tags, digests } = await sealFiles({ source, folder, salt }, files, options);
  const sealedFiles = files.map((file, i) => ({
    ...file,
    sha256: toHex(digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)),
  }));
  const keyCommitment = deriveKeyCommitment(options.modelKey, salt);
  const tagsFile = encodeTags({ salt, keyCommitment, files: sealedFiles }, tags);
  await writeFileDurably(join(folder, TAGS_PATH), tagsFile, 0o644);
  const tagsSha256 = createHash('sha256').update(tagsFile).digest('hex');
  const contents = { model: options.model, salt, keyCommitment, files: sealedFiles, tagsSha256 };
  const manifest = await signManifest(contents, options.signers);
  await writeFileDurably(join(folder, MANIFEST_PATH), manifest.bytes, 0o644);
  for (const path of foldersOf(files)) await syncFolder(join(folder, path));
  return { manifestDigest: manifest.digest, files: sealedFiles, totalBytes: totalBytes(files) };
}

function totalBytes(files: readonly { readonly bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** All folders that the paths need, the outer before the inner, the bundle itself first. */
function foldersOf(files: readonly { readonly path: string }[]): readonly string[] {
  const folders = new Set(['']);
  for (const { path } of files) {
    for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1))
      folders.add(path.slice(0, at));
  }
  return [...folders];
}

async function makeFolders(folder: string, files: readonly SourceFile[]): Promise<void> {
  for (const path of foldersOf(files)) await mkdir(join(folder, path));
}

/** Large files first, so that no thread is left alone with one at the end. */
async function sealFiles(
  { source, folder, salt }: { readonly source: string; readonly folder: string; readonly salt: Uint8Array },
  files: readonly SourceFile[],
  options: SealOptions,
): Promise<Pick<SealWork, 'tags' | 'digests'>> {
  const tags = new Uint8Array(new SharedArrayBuffer(TAG_BYTES * totalChunks(files)));
  const digests = new Uint8Array(new SharedArrayBuffer(DIGEST_BYTES * files.length));
  const keys = deriveFileKeys(options.modelKey, salt, files);
  try {
    let firstTag = 0;
    const jobs = files.map((file, digestIndex): SealFile => {
      const keyAddress = keys.address + BigInt(digestIndex * KEY_BYTES);
      const job = { ...file, keyAddress, firstTag, digestIndex };
      firstTag += file.chunks;
      return job;
    });
    jobs.sort((left, right) => right.bytes - left.bytes);
    const work: SealWork = { source, target: folder, files: jobs, tags, digests };
    await runPool(SEAL_WORKER, work, { jobCount: jobs.length, totalBytes: totalBytes(files) }, options);
    return { tags, digests };
  } finally {
    keys.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path).catch((cause: unknown) => refuseUnreadable(path, cause));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
