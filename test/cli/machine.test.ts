/** Disks that are full, folders that may not be written, and what doctor says of a machine. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

import { runCommand, startCommand } from '../support/command-line.ts';
import { ORDINARY_USER, ordinaryUserMissing } from '../support/ordinary-user.ts';
import { ORIGIN, Owner } from '../support/owner.ts';
import { startTestTpm, swtpmMissing } from '../support/swtpm.ts';

const isRoot = process.getuid?.() === 0;
const DISK_BYTES = 1_000_000;

let owner: Owner;
let disk: string;
let isMounted = false;

const run = promisify(execFile);

beforeAll(async () => {
  owner = await Owner.create();
  disk = owner.path('disk');
  await mkdir(disk);
  if (!isRoot) return;
  // Containers often may not mount; the tests of a full disk are left out there, and say so.
  isMounted = await run('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk]).then(
    () => true,
    () => false,
  );
}, 120_000);

afterAll(async () => {
  if (isMounted) await run('umount', [disk]);
  await owner[Symbol.asyncDispose]();
});

async function fillDisk(): Promise<void> {
  await run('dd', ['if=/dev/zero', `of=${disk}/filling`, 'bs=4096']).catch(() => undefined);
}

describe('a full disk', () => {
  it('CL-2: a bundle that does not fit leaves nothing', async (context) => {
    if (!isMounted) context.skip('no file system could be mounted');
    const outcome = await runCommand(...owner.sealing('model'), '--out', `${disk}/bundle`);
    expect(outcome).toMatchObject({ exitCode: 5, errors: expect.stringContaining('ENOSPC') as string });
    expect(await readdir(disk)).toEqual([]);
  });

  it('CL-2: nor does a key or a home', async (context) => {
    if (!isMounted) context.skip('no file system could be mounted');
    await fillDisk();
    const key = runCommand('key', 'create', `${disk}/key`, '--name', 'carol', ...owner.passphrase);
    const home = runCommand(
      ...['init', `${disk}/home`, '--mode', 'evaluation', '--origin', ORIGIN, ...owner.persons],
      ...['--organisation', 'Owner', ...owner.passphrase],
    );
    expect(await key).toMatchObject({
      exitCode: 5,
      errors: expect.stringContaining('[file-not-written]') as string,
    });
    expect(await home).toMatchObject({ exitCode: 5, errors: expect.stringContaining('disk') as string });
    expect(await readdir(disk)).toEqual(['filling']);
  });
});

describe('a user without rights', () => {
  it('CL-1: is told which file or folder', async (context) => {
    if (ordinaryUserMissing !== undefined) context.skip(ordinaryUserMissing);
    await chmod(owner.folder, 0o755);
    await copyFile(owner.path('passphrase'), owner.path('readable'));
    await chmod(owner.path('readable'), 0o644);
    const passphrase = ['--passphrase-file', owner.path('readable')];
    const commands = [
      [['key', 'show', owner.path('alice.key')], '/alice.key'],
      [['serve', owner.path('home'), ...passphrase], '/weightgate.yaml'],
      [['key', 'create', owner.path('model/k'), '--name', 'a', ...passphrase], 'model/k'],
    ] as const;
    for (const [args, place] of commands) {
      const outcome = await startCommand(args, { uid: ORDINARY_USER }).outcome;
      expect(outcome.exitCode).toBe(5);
      expect(outcome.errors).toContain(place);
      expect(outcome.errors).toContain('EACCES');
    }
    expect(await readdir(owner.path('model'))).toEqual(['README.md', 'model.gguf']);
  });
});

describe('weightgate doctor', () => {
  it('CL-9: ends with 5 and names the fix where the TPM is missing', async () => {
    const { exitCode, output, errors } = await runCommand('doctor', '--tpm', 'device:/dev/none');
    expect(output).toMatch(/^missing {2}TPM: \/dev\/none: .*\[tpm-missing\] -> Switch the TPM on/m);
    expect(output).toMatch(/^ready {4}Node\.js: Node\.js 24\.\d+\.\d+, OpenSSL 3\./m);
    const way = existsSync('build/native/chunks.node')
      ? 'ready    unsealing: by the compiled part'
      : 'remark   unsealing: by the portable way';
    expect(output).toContain(way);
    expect(output).toMatch(/^\w+ +GPU driver: /m);
    expect(output.trim().split('\n').length).toBeGreaterThanOrEqual(12);
    expect(errors).toContain('[machine-not-ready]');
    expect(exitCode).toBe(5);
  });

  it.skipIf(swtpmMissing !== undefined)('CL-9: ends with 0 where an agent could run', async () => {
    const machine = await startTestTpm();
    onTestFinished(() => machine.remove());
    const { address } = machine.tpm;
    const { exitCode, output } = await runCommand('doctor', '--tpm', address);
    expect(output).toContain(`ready    TPM: ${address} answers`);
    expect(output).toContain('ready    engine: llama.cpp loads');
    expect(exitCode).toBe(0);
  });
});
