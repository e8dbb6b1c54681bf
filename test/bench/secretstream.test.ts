/** Both ways of the same peer: what one encrypts, the other opens. */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { findProgram, runModule, runProgram } from '../../bench/support/program.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const PROCESS = new URL('../../bench/unseal/secretstream-process.ts', import.meta.url);
const SOURCE = 'bench/unseal/secretstream.c';
const MESSAGE_BYTES = 1024 * 1024;

/** After the header and the first message: nothing says there that more was to come. */
const CUT = 24 + MESSAGE_BYTES + 17;

const compiler = findProgram('cc');
const cannot = compiler === undefined || !existsSync('/usr/include/sodium.h');
const options = { signal: new AbortController().signal };

async function transformWasm(
  direction: string,
  keyFile: string,
  input: string,
  output: string,
): Promise<void> {
  await runModule(PROCESS, { direction, keyFile, input, output }, options);
}

describe('secretstream in WebAssembly', () => {
  it('refuses a stream that was cut or changed', async () => {
    const folder = await temporaryFolder();
    const [key, plain, sealed, opened] = paths(folder);
    await writeFile(key, randomBytes(32));
    await writeFile(plain, randomBytes(MESSAGE_BYTES + 10));
    await transformWasm('encrypt', key, plain, sealed);
    const bytes = await readFile(sealed);
    await writeFile(sealed, bytes.subarray(0, CUT));
    await expect(transformWasm('decrypt', key, sealed, opened)).rejects.toThrow('too short');
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    await writeFile(sealed, bytes);
    await expect(transformWasm('decrypt', key, sealed, opened)).rejects.toThrow('not authentic');
  });
});

describe.skipIf(cannot)('secretstream in C and in WebAssembly (needs a C compiler and libsodium-dev)', () => {
  it.each([0, 1, MESSAGE_BYTES - 1, MESSAGE_BYTES, 2 * MESSAGE_BYTES + 5])(
    'agree on %i bytes',
    async (size) => {
      const folder = await temporaryFolder();
      const [key, plain, sealed, opened] = paths(folder);
      const program = join(folder, 'secretstream');
      await runProgram(
        compiler ?? 'cc',
        ['-O2', '-Wall', '-Werror', '-o', program, SOURCE, '-lsodium'],
        options,
      );
      const bytes = randomBytes(size);
      await writeFile(key, randomBytes(32));
      await writeFile(plain, bytes);
      await transformWasm('encrypt', key, plain, sealed);
      await runProgram(program, ['decrypt', key, sealed, opened], options);
      expect(bytes.equals(await readFile(opened))).toBe(true);
      await runProgram(program, ['encrypt', key, plain, sealed], options);
      await transformWasm('decrypt', key, sealed, opened);
      expect(bytes.equals(await readFile(opened))).toBe(true);
    },
  );
});

function paths(folder: string) {
  return ['key', 'plain', 'sealed', 'opened'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
    string,
  ];
}
