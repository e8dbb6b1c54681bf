/** Rows for other ways to get the same bytes out of a file that was encrypted. */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { findProgram, runModule, runProgram } from '../support/program.ts';
import type { Context } from './context.ts';
import { pagesOf } from './limits.ts';
import type { NodeCryptoReport } from './node-crypto-process.ts';
import type { OpenArguments } from './open-process.ts';
import { programRow } from './program-row.ts';
import type { Measurement, MissingRow, Row } from './row.ts';
import { requireSameFiles } from './same.ts';
import type { SecretstreamArguments } from './secretstream-process.ts';
import { Vault } from './vault.ts';

const GROUP = 'others';
const NODE_CRYPTO_PROCESS = new URL('./node-crypto-process.ts', import.meta.url);
const SECRETSTREAM_PROCESS = new URL('./secretstream-process.ts', import.meta.url);
const SECRETSTREAM_SOURCE = fileURLToPath(new URL('./secretstream.c', import.meta.url));
const SODIUM_HEADER = '/usr/include/sodium.h';

export async function otherRows(context: Context): Promise<readonly (Row | MissingRow)[]> {
  return [
    ageRow(context),
    gocryptfsRow(context),
    opensslRow(context),
    await secretstreamRow(context),
    nodeCryptoRow(context),
  ];
}

/** What the programs here write to. */
function destination(context: Context) {
  const { huge, ordinary } = context.workplace;
  return { folder: huge ?? ordinary, pages: huge === undefined ? 'ordinary' : 'huge' } as const;
}

function ageRow(context: Context): Row | MissingRow {
  const { workplace } = context;
  const identity = workplace.path('age.identity');
  const encrypted = (): Promise<string> =>
    context.once('age', async () => {
      const { output } = await runProgram(findProgram('age-keygen') ?? 'age-keygen', [], context);
      await writeFile(identity, output, { mode: 0o600 });
      const recipient = /^# public key: (\S+)$/m.exec(output)?.[1] ?? '';
      const target = workplace.path('weights.age');
      await runProgram('age', ['-r', recipient, '-o', target, await context.plainFile()], context);
      return target;
    });
  return programRow(context, {
    ...{
      name: 'age',
      label: 'age -d (X25519, ChaCha20-Poly1305)',
      group: GROUP,
      program: 'age',
      package: 'age',
    },
    ...destination(context),
    source: encrypted,
    args: (source, target) => Promise.resolve(['-d', '-i', identity, '-o', target, source]),
  });
}

function opensslRow(context: Context): Row | MissingRow {
  const secret = ['-K', randomBytes(32).toString('hex'), '-iv', randomBytes(16).toString('hex')];
  const cipher = ['enc', '-aes-256-ctr', '-bufsize', String(1024 * 1024), ...secret];
  const encrypted = (): Promise<string> =>
    context.once('openssl', async () => {
      const target = context.workplace.path('weights.ctr');
      await runProgram('openssl', [...cipher, '-in', await context.plainFile(), '-out', target], context);
      return target;
    });
  return programRow(context, {
    ...{ name: 'openssl-ctr', label: 'openssl enc -d -aes-256-ctr', group: GROUP },
    ...{ program: 'openssl', package: 'openssl', note: 'authenticates nothing' },
    ...destination(context),
    source: encrypted,
    args: (source, target) => Promise.resolve([...cipher, '-d', '-in', source, '-out', target]),
  });
}

/** In C where it can be compiled, else in WebAssembly. */
async function secretstreamRow(context: Context): Promise<Row | MissingRow> {
  const key = context.workplace.path('secretstream.key');
  const compiler = findProgram('cc');
  if (compiler === undefined || !existsSync(SODIUM_HEADER)) return wasmSecretstreamRow(context, key);
  const program = context.workplace.path('secretstream');
  await runProgram(compiler, ['-O2', '-Wall', '-o', program, SECRETSTREAM_SOURCE, '-lsodium'], context);
  const encrypted = (): Promise<string> =>
    context.once('secretstream', async () => {
      const target = context.workplace.path('weights.secretstream');
      await writeFile(key, randomBytes(32), { mode: 0o600 });
      await runProgram(program, ['encrypt', key, await context.plainFile(), target], context);
      return target;
    });
  return programRow(context, {
    ...{ name: 'secretstream', label: 'libsodium secretstream in C, 1 MiB messages', group: GROUP },
    ...{ program, package: 'libsodium-dev' },
    ...destination(context),
    source: encrypted,
    args: (source, target) => Promise.resolve(['decrypt', key, source, target]),
  });
}

function wasmSecretstreamRow(context: Context, keyFile: string): Row {
  const name = 'secretstream';
  const transform = (direction: 'encrypt' | 'decrypt', input: string, output: string) => {
    const args: SecretstreamArguments = { direction, keyFile, input, output };
    return runModule(SECRETSTREAM_PROCESS, args, context);
  };
  const encrypted = (): Promise<string> =>
    context.once('secretstream', async () => {
      const target = context.workplace.path('weights.secretstream');
      await writeFile(keyFile, randomBytes(32), { mode: 0o600 });
      await transform('encrypt', await context.plainFile(), target);
      return target;
    });
  const run = async (checks: boolean): Promise<Measurement> => {
    const { pages } = destination(context);
    const target = join(context.fastest, `${name}.out`);
    try {
      const { seconds, memoryBytes } = await transform('decrypt', await encrypted(), target);
      if (checks) requireSameFiles(await context.plainFile(), target);
      const rate = context.bytes / seconds;
      const note = 'in C with gcc and libsodium-dev installed';
      return { rate, processRate: rate, memoryBytes, pages, note };
    } finally {
      await rm(target, { force: true });
    }
  };
  const label = 'libsodium secretstream in WebAssembly, 1 MiB messages';
  return { name, label, group: GROUP, prepare: async () => [await encrypted()], run };
}

function nodeCryptoRow(context: Context): Row {
  const run = async (checks: boolean): Promise<Measurement> => {
    const { folder, manifestDigest } = await context.bundle();
    const args: OpenArguments = {
      ...{ folder, manifestDigest, modelKeyFile: await context.modelKeyFile(), portable: true },
      ...(checks ? { expected: await context.plainFile() } : {}),
    };
    const { result, seconds, memoryBytes } = await runModule(NODE_CRYPTO_PROCESS, args, context);
    const opened = result as NodeCryptoReport;
    return {
      rate: opened.bytes / opened.seconds,
      processRate: opened.bytes / seconds,
      memoryBytes: Math.max(opened.besideBytes, memoryBytes),
      pages: pagesOf(opened.backing),
      note: 'the same bundle',
    };
  };
  return {
    ...{ name: 'node-crypto', label: 'node:crypto (aes-256-gcm), 1 thread', group: GROUP },
    prepare: async () => [(await context.bundle()).weights],
    run,
  };
}

/** A file system in user space: what is measured is `cp` out of it, mounted anew for each run. */
function gocryptfsRow(context: Context): Row | MissingRow {
  const about = { name: 'gocryptfs', label: 'gocryptfs (FUSE), cp out of it', group: GROUP } as const;
  const program = findProgram('gocryptfs');
  const helper = findProgram('fusermount3') ?? findProgram('fusermount');
  if (program === undefined || helper === undefined) {
    return { ...about, missing: 'not installed: apt-get install gocryptfs fuse3' };
  }
  if (!existsSync('/dev/fuse')) return { ...about, missing: 'no /dev/fuse on this machine' };
  const vault = new Vault(context, program);
  const run = async (checks: boolean): Promise<Measurement> => {
    const { pages } = destination(context);
    const target = join(context.fastest, `${about.name}.out`);
    try {
      const { result, memoryBytes } = await vault.whileOpen(() =>
        runProgram('cp', [vault.opened, target], context),
      );
      if (checks) requireSameFiles(await context.plainFile(), target);
      const rate = context.bytes / result.seconds;
      return { rate, processRate: rate, memoryBytes, pages, note: 'memory of the file system, not of cp' };
    } finally {
      await rm(target, { force: true });
    }
  };
  return { ...about, prepare: async () => [await vault.encrypted()], run };
}
