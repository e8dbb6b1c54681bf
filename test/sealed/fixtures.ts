/** Folders, keys and signers for the tests of sealed bundles. */

import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { afterAll } from 'vitest';

import { MODEL, MODEL_KEY, privateKey, publicKey, SALT } from './fixed-key.ts';
import type { Files, SealInput } from './second-implementation.ts';

export * from './fixed-key.ts';

/** Bytes that a seed decides, different at every place: a chunk out of place never looks like the right one. */
export function deterministicBytes(length: number, seed: string): Uint8Array {
  const block = createHash('shake256', { outputLength: Math.max(1, Math.min(length, 65_521)) })
    .update(seed)
    .digest();
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += block.length) {
    bytes.set(block.subarray(0, length - at), at);
    bytes[at] = (at / block.length) & 0xff;
  }
  return bytes;
}

export function specificationInput(files: Files): SealInput {
  return { files, modelKey: MODEL_KEY, salt: SALT, model: MODEL, privateKey, publicKey };
}

const folders: string[] = [];

/** An empty folder that goes away after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'weightgate-sealed-'));
  folders.push(folder);
  return folder;
}

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export function writeFolder(files: Files): string {
  const folder = temporaryFolder();
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
  return folder;
}

export function readFolder(folder: string): Map<string, Uint8Array> {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const files = paths.filter((path) => lstatSync(join(folder, path)).isFile());
  return new Map(files.sort().map((path) => [path, new Uint8Array(readFileSync(join(folder, path)))]));
}
