/** The folder of a device class: which files it has, by digest, and where its fixture lies. */

import { createHash } from 'node:crypto';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';

import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { readFileBounded } from '../../platform/files.ts';
import { conformanceFormRefusals } from './refusals.ts';

const MAX_FILES = 500;
const MAX_FILE_BYTES = 16 * 1024 * 1024;
export const CLASS_MODULE = 'device-class.ts';

export interface FileDigest {
  /** Relative to the folder, with `/`. */
  readonly path: string;
  /** Lower-case hex. */
  readonly sha256: string;
}

export interface ClassFolder {
  /** Without links in it. */
  readonly path: string;
  readonly files: readonly FileDigest[];
  /** SHA-256 of the canonical JSON of `files`: names the whole folder. */
  readonly digest: string;
}

/** @throws RefusalError `conformance-class`, `file-*` */
export async function openClassFolder(folder: string): Promise<ClassFolder> {
  const path = await realpath(folder).catch(() => folder);
  const status = await stat(join(path, CLASS_MODULE)).catch(() => undefined);
  if (status?.isFile() !== true) {
    throw conformanceFormRefusals.error('conformance-class', {
      field: folder,
      expected: `a folder with a ${CLASS_MODULE}`,
      found: 'none',
    });
  }
  const files = await Promise.all((await filePaths(path)).map((file) => digestOf(path, file)));
  const digest = sha256Hex(encodeCanonicalJson(files.map((file) => ({ ...file }))));
  return { path, files, digest };
}

/**
 * The fixture of a class by the project's convention: `attestation/CLASS/` has it in
 * `test/attestation/contract/CLASS-fixture.ts`.
 */
export function conventionalFixture(folder: string): string {
  return join(folder, '../../test/attestation/contract', `${basename(folder)}-fixture.ts`);
}

async function filePaths(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  if (files.length <= MAX_FILES) return files.sort();
  throw conformanceFormRefusals.error('conformance-class', {
    field: folder,
    expected: `at most ${MAX_FILES} files`,
    found: `${files.length}`,
  });
}

async function digestOf(folder: string, file: string): Promise<FileDigest> {
  const sha256 = sha256Hex(await readFileBounded(file, MAX_FILE_BYTES));
  return { path: relative(folder, file), sha256 };
}

export async function digestOfFile(file: string): Promise<string> {
  return sha256Hex(await readFileBounded(file, MAX_FILE_BYTES));
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
