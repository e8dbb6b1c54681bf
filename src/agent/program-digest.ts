/**
 * What this program is, as one digest (docs/spec/tpm-agent-measurements.md, section 4): the files from which it runs
 * and the Node.js that runs them, listed as `sha256sum` would.
 */

import { createHash } from 'node:crypto';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const programRefusals = defineRefusals('environment', {
  'agent-program-unreadable': {
    means:
      'A file of this program cannot be read, or is neither a file nor a folder, so that it cannot be measured.',
    hint: 'Install the release anew, with the user of the agent able to read all of it.',
  },
});

/** The folder of the release. */
const ROOT = join(import.meta.dirname, '..', '..');

/** What belongs to the program besides the packages: code, what was compiled for it, and the list of its packages. */
const OWN_PARTS = [
  'attestation',
  'bin',
  'build/native',
  'native',
  'package-lock.json',
  'package.json',
  'src',
];
const LOCK_FILE = 'package-lock.json';

/** As the Node.js that runs the program stands in the list. */
const RUNTIME_NAME = 'node';

/** Read at once: most files are smaller, the largest have hundreds of megabytes. */
const BUFFER_BYTES = 1024 * 1024;

/** Files of a package that belong to packages of their own. */
const NESTED_PACKAGES = 'node_modules';

/**
 * The lines `DIGEST  PATH` of all files, sorted by path: what `sha256sum` prints for them.
 *
 * @param root folder of the release
 * @param runtime the Node.js that runs it
 * @throws RefusalError `agent-program-unreadable`
 */
export async function listProgram(root = ROOT, runtime = process.execPath): Promise<readonly string[]> {
  const files: string[] = [];
  for (const part of [...OWN_PARTS, ...(await packagesOf(root))]) files.push(...(await filesOf(root, part)));
  const buffer = new Uint8Array(BUFFER_BYTES);
  const lines: string[] = [];
  for (const path of files.sort(byBytes)) {
    lines.push(`${await digestOfFile(join(root, path), buffer)}  ${path}`);
  }
  return [...lines, `${await digestOfFile(runtime, buffer)}  ${RUNTIME_NAME}`];
}

/** SHA-256 over the lines, each with its line feed: 32 bytes. @throws RefusalError `agent-program-unreadable` */
export async function digestOfProgram(root = ROOT, runtime = process.execPath): Promise<Uint8Array> {
  const hash = createHash('sha256');
  for (const line of await listProgram(root, runtime)) hash.update(`${line}\n`);
  return hash.digest();
}

function byBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** The packages that the lock file names for more than development, as far as they are installed. */
async function packagesOf(root: string): Promise<readonly string[]> {
  const text = await readFile(join(root, LOCK_FILE), 'utf8').catch((cause: unknown) => {
    throw unreadable(LOCK_FILE, 'the list of packages', cause);
  });
  const { packages = {} } = JSON.parse(text) as { packages?: Record<string, { readonly dev?: boolean }> };
  const wanted = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true);
  return wanted.map(([path]) => path);
}

/** Files below a part, as paths from the root. A part that is not there is not part of this installation. */
async function filesOf(root: string, part: string): Promise<readonly string[]> {
  const found = await stat(join(root, part)).catch(() => undefined);
  if (found === undefined) return [];
  if (found.isFile()) return [part];
  const entries = await readdir(join(root, part), { withFileTypes: true }).catch((cause: unknown) => {
    throw unreadable(part, 'a folder', cause);
  });
  const files: string[] = [];
  for (const entry of entries) {
    const path = `${part}/${entry.name}`;
    if (entry.isFile()) files.push(path);
    else if (!entry.isDirectory()) throw unreadable(path, 'a file or a folder');
    else if (entry.name !== NESTED_PACKAGES) files.push(...(await filesOf(root, path)));
  }
  return files;
}

/** @param buffer for what is read: one for all files, of which there are thousands */
async function digestOfFile(path: string, buffer: Uint8Array): Promise<string> {
  const hash = createHash('sha256');
  try {
    await using file = await open(path, 'r');
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
    }
  } catch (cause) {
    throw unreadable(path, 'a file that this user reads', cause);
  }
}

function unreadable(field: string, expected: string, cause?: unknown): Error {
  const found = cause instanceof Error && 'code' in cause ? String(cause.code) : 'something else';
  return programRefusals.error('agent-program-unreadable', { field, expected, found }, { cause });
}
