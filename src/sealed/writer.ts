/** Sealing a folder into a bundle: whole or not at all (docs/spec/sealed-weights.md SW-24, SW-26 to SW-29). */

import { createHash, randomFillSync, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';

import { concatBytes, equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { KeyMemory } from '../../native/memory/key-memory.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';
import { fileRefusals, writeFileDurably } from '../platform/files.ts';
import { readShape } from '../platform/shape.ts';
import { checkContents } from './contents.ts';
import { listFiles, openRegularFile, readFully, refuseUnreadable } from './files.ts';
import { deriveKeyCommitment } from './keys.ts';
import { chunkCount, MANIFEST_PATH, SALT_BYTES, TAGS_PATH } from './layout.ts';
import { checkLimits, modelNameSchema, signManifest, type ModelName, type SealedFile } from './manifest.ts';
import { checkPaths, comparePaths, foldersOf } from './paths.ts';
import { refuseNotWritten, sealedUsage, systemErrorName } from './refusals.ts';
import {
  fileIdentity,
  sealFiles,
  sumBytes,
  type SealFilesOptions,
  type SealingPlan,
  type SourceFile,
} from './seal-files.ts';
import { refuseOther, SealingRecord, UNRECORDED, type SealingStart } from './sealing-record.ts';
import { encodeTags } from './tags.ts';

export interface SealOptions extends SealFilesOptions {
  readonly model: ModelName;
  /** Stays the caller's. To go on with an unfinished sealing it must be the key of that. */
  readonly modelKey: KeyMemory;
  readonly signers: readonly Ed25519Signer[];
  /**
   * Keeps what is finished when the work is interrupted, and goes on with what an earlier interruption left. Called
   * before the first byte is sealed, with the key's commitment in hex: the caller must be able to find the key by it.
   */
  readonly onBegin?: ((keyCommitment: string) => Promise<void>) | undefined;
  /** Called with the manifest digest before the bundle appears; what it throws undoes the sealing. */
  readonly onManifest?: ((manifestDigest: string) => Promise<void>) | undefined;
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

/**
 * Seals all files of a folder.
 *
 * @param source the model's folder
 * @param target where the bundle shall stand; must not be there yet
 * @throws RefusalError `sealed-*`, `weights-*`, `file-exists`, `shape-mismatch`, `memory-*`; nothing is left behind,
 *   but for `sealed-interrupted` with `onBegin`, and `sealed-unfinished-*`, which leave what was there
 */
export async function sealFolder(
  source: string,
  target: string,
  options: SealOptions,
): Promise<SealedResult> {
  const model = readShape(modelNameSchema, options.model, 'model');
  await checkTarget(source, target);
  const files = await listSource(source);
  const record = SealingRecord.open(options.onBegin === undefined ? UNRECORDED : recordPath(target));
  const partial =
    options.onBegin === undefined ? `${resolve(target)}.partial-${randomUUID()}` : partialPath(target);
  try {
    const start = await beginOrContinue(record, target, files, { ...options, model });
    await prepareFolder(partial, files, record);
    const plan = { source, target: partial, salt: start.salt, modelKey: options.modelKey, files };
    await sealFiles(plan, record, options);
    const result = await writeBundle(plan, start, record, { ...options, model });
    await publish(partial, target);
    record.remove();
    return result;
  } catch (error) {
    if (leavesUnfinished(error, options)) {
      record.close();
      throw error;
    }
    await rm(partial, { recursive: true, force: true });
    record.remove();
    return isRefusal(error) ? Promise.reject(error) : refuseNotWritten(target, error);
  }
}

/** The commitment of the key of a sealing that was interrupted, in hex; undefined when there is none. */
export function unfinishedSealing(target: string): string | undefined {
  const path = recordPath(target);
  if (!existsSync(path)) return undefined;
  const record = SealingRecord.open(path);
  try {
    return record.start === undefined ? undefined : toHex(record.start.keyCommitment);
  } finally {
    record.close();
  }
}

function recordPath(target: string): string {
  return `${resolve(target)}.sealing`;
}

function partialPath(target: string): string {
  return `${resolve(target)}.partial`;
}

function leavesUnfinished(error: unknown, { onBegin }: SealOptions): boolean {
  if (!isRefusal(error) || onBegin === undefined) return false;
  return ['sealed-interrupted', 'sealed-unfinished-other'].includes(error.refusal.code);
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
    const identity = fileIdentity(await handle.stat({ bigint: true }));
    await checkContents(path, bytes, async (offset, length) => {
      const range = new Uint8Array(length);
      await readFully(handle, range, offset, path);
      return range;
    });
    return { path, bytes, chunks: chunkCount(bytes), identity };
  } finally {
    await handle.close();
  }
}

/** SW-28: goes on only with the same files, unchanged, the same model and the same key. */
async function beginOrContinue(
  record: SealingRecord,
  target: string,
  files: readonly SourceFile[],
  { model, modelKey, onBegin, fillRandom }: SealOptions,
): Promise<SealingStart> {
  const parameters = JSON.stringify({ model: [model.name, model.version, model.variant], files });
  const { start } = record;
  if (start !== undefined) {
    if (start.parameters !== parameters) refuseOther(target, 'the same model and files, unchanged', 'others');
    const isKey = equalBytes(deriveKeyCommitment(modelKey, start.salt), start.keyCommitment);
    if (!isKey) refuseOther(target, `the key of commitment ${toHex(start.keyCommitment)}`, 'another key');
    return start;
  }
  const salt = new Uint8Array(SALT_BYTES);
  (fillRandom ?? randomFillSync)(salt);
  const begun = { parameters, salt, keyCommitment: deriveKeyCommitment(modelKey, salt) };
  await onBegin?.(toHex(begun.keyCommitment));
  record.begin(begun);
  return begun;
}

/** Makes the folders, and removes what was only half written. */
async function prepareFolder(
  folder: string,
  files: readonly SourceFile[],
  record: SealingRecord,
): Promise<void> {
  for (const path of foldersOf(files.map(({ path }) => path))) await makeFolder(join(folder, path));
  const finished = record.finished();
  const unfinished = files.map(({ path }) => path).filter((path) => !finished.has(path));
  for (const path of [...unfinished, TAGS_PATH, MANIFEST_PATH]) await rm(join(folder, path), { force: true });
}

/** One that is there from an earlier run will do. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path).catch((cause: unknown) => {
    if (systemErrorName(cause) !== 'EEXIST') throw cause;
  });
}

/** Tags and manifest, over files that are all finished. */
async function writeBundle(
  { target: folder, files }: SealingPlan,
  { salt, keyCommitment }: SealingStart,
  record: SealingRecord,
  { model, signers, onManifest }: SealOptions,
): Promise<SealedResult> {
  const finished = record.finished();
  const results = files.map(({ path, bytes, chunks }) => {
    const { sha256, tags } = finished.get(path) ?? refuseOther(folder, `${path} finished`, 'no record of it');
    return { file: { path, bytes, chunks, sha256 }, tags };
  });
  const sealedFiles = results.map(({ file }) => file);
  const tagsFile = encodeTags(
    { salt, keyCommitment, files: sealedFiles },
    concatBytes(...results.map(({ tags }) => tags)),
  );
  await writeFileDurably(join(folder, TAGS_PATH), tagsFile, 0o644);
  const tagsSha256 = createHash('sha256').update(tagsFile).digest('hex');
  const manifest = await signManifest(
    { model, salt, keyCommitment, files: sealedFiles, tagsSha256 },
    signers,
  );
  await writeFileDurably(join(folder, MANIFEST_PATH), manifest.bytes, 0o644);
  for (const path of foldersOf(files.map(({ path }) => path))) await syncFolder(join(folder, path));
  await onManifest?.(manifest.digest);
  return { manifestDigest: manifest.digest, files: sealedFiles, totalBytes: sumBytes(sealedFiles) };
}

async function publish(partial: string, target: string): Promise<void> {
  await rename(partial, target);
  await syncFolder(dirname(resolve(target)));
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path).catch((cause: unknown) => refuseUnreadable(path, cause));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
