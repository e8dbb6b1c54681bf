/** Rows for what this machine can do at best: decrypting without moving, and moving without decrypting. */

import { availableParallelism } from 'node:os';

import { isRefusal } from '../../attestation/core/refusal.ts';
import { SecretMemory, type MemoryBacking } from '../../native/memory/secret-memory.ts';
import { CHUNK_BYTES } from '../../src/sealed/layout.ts';
import { findProgram, runModule, runProgram } from '../support/program.ts';
import type { CipherArguments, CipherReport } from './cipher-process.ts';
import type { Context } from './context.ts';
import type { CopyArguments, CopyReport } from './copy-process.ts';
import { programRow } from './program-row.ts';
import type { Measurement, MissingRow, Pages, Row } from './row.ts';

const GROUP = 'limits of this machine';
const CIPHER_PROCESS = new URL('./cipher-process.ts', import.meta.url);
const COPY_PROCESS = new URL('./copy-process.ts', import.meta.url);
const CIPHER_SECONDS = 1;
const OPENSSL_BUFFER_BYTES = 1024 * 1024;
const COPY_PIECES = [512 * 1024, CHUNK_BYTES];

export const CORES = availableParallelism();

export function limitRows(context: Context): readonly (Row | MissingRow)[] {
  return [
    cipherRow(context, 'cipher-1', 1),
    cipherRow(context, 'cipher-all', CORES),
    opensslSpeedRow(context, 'openssl-speed-1', 1),
    opensslSpeedRow(context, 'openssl-speed-all', CORES),
    ...copyRows(context, 'copy', 'private-mount'),
    cpRow(context, 'cp', 'huge'),
    ...copyRows(context, 'copy-file', 'memory-file'),
    cpRow(context, 'cp-ordinary', 'ordinary'),
  ];
}

/** @param backing as an opened file reports it */
export function pagesOf(backing: MemoryBacking): Pages {
  return backing === 'private-mount' ? 'huge' : 'ordinary';
}

export function threadsText(threads: number): string {
  return threads === 1 ? '1 thread' : `${threads} threads`;
}

function cipherRow(context: Context, name: string, threads: number): Row {
  const args: CipherArguments = { threads, seconds: CIPHER_SECONDS };
  return {
    name,
    label: `AES-256-GCM of OpenSSL ${process.versions.openssl} in Node.js, cached, ${threadsText(threads)}`,
    group: GROUP,
    prepare: () => Promise.resolve([]),
    run: async () => {
      const { result } = await runModule(CIPHER_PROCESS, args, context);
      return { rate: (result as CipherReport).rate, pages: 'none' };
    },
  };
}

function opensslSpeedRow(context: Context, name: string, threads: number): Row | MissingRow {
  const label = `openssl speed -evp aes-256-gcm, ${threadsText(threads)}`;
  const program = findProgram('openssl');
  if (program === undefined) {
    return { name, label, group: GROUP, missing: 'not installed: apt-get install openssl' };
  }
  const multi = threads === 1 ? [] : ['-multi', String(threads)];
  const size = ['-seconds', String(CIPHER_SECONDS), '-bytes', String(OPENSSL_BUFFER_BYTES)];
  const run = async (): Promise<Measurement> => {
    const { output } = await runProgram(
      program,
      ['speed', '-mr', ...size, ...multi, '-evp', 'aes-256-gcm'],
      context,
    );
    return { rate: parseOpensslSpeed(output), pages: 'none' };
  };
  return { name, label, group: GROUP, prepare: () => Promise.resolve([]), run };
}

/** @param output of `openssl speed -mr`: the last line is `+F:<number>:<name>:<bytes a second>` */
export function parseOpensslSpeed(output: string): number {
  const rate = Number(/^\+F:\d+:[^:]+:([0-9.]+)$/m.exec(output)?.[1]);
  if (!(rate > 0)) throw new Error('openssl speed said nothing that is known');
  return rate;
}

/** One thread and all, in pieces as a cache holds them and as huge pages want them: neither is always the fastest. */
function copyRows(context: Context, name: string, backing: MemoryBacking): readonly (Row | MissingRow)[] {
  return [1, CORES].flatMap((threads) =>
    COPY_PIECES.map((pieceBytes) => {
      const suffix = `${threads === 1 ? '1' : 'all'}-${pieceBytes / 1024}k`;
      return copyRow(context, `${name}-${suffix}`, { threads, pieceBytes, backing });
    }),
  );
}

type CopyChoices = Pick<CopyArguments, 'threads' | 'pieceBytes' | 'backing'>;

function copyRow(context: Context, name: string, choices: CopyChoices): Row | MissingRow {
  const { threads, pieceBytes, backing } = choices;
  const where = backing === 'private-mount' ? 'huge pages' : '4 KiB pages';
  const label = `pread, pwrite of ${pieceBytes / 1024} KiB into ${where}, ${threadsText(threads)}`;
  const missing = whyNotIn(backing);
  if (missing !== undefined) return { name, label, group: GROUP, missing };
  const run = async (checks: boolean): Promise<Measurement> => {
    const source = await context.plainFile();
    const args: CopyArguments = { source, checks, ...choices };
    const { result, seconds } = await runModule(COPY_PROCESS, args, context);
    const copied = result as CopyReport;
    return {
      rate: copied.bytes / copied.seconds,
      processRate: copied.bytes / seconds,
      pages: pagesOf(backing),
    };
  };
  return { name, label, group: GROUP, prepare: async () => [await context.plainFile()], run };
}

/** Why memory of this kind cannot be had by this process; undefined where it can. */
function whyNotIn(backing: MemoryBacking): string | undefined {
  try {
    SecretMemory.allocate(1, 'probe', backing).close();
    return undefined;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return `${error.refusal.code}: ${error.refusal.found}; run as root`;
  }
}

function cpRow(context: Context, name: string, pages: 'huge' | 'ordinary'): Row | MissingRow {
  const folder = context.workplace[pages];
  return programRow(context, {
    name,
    label: `cp into a tmpfs of ${pages === 'huge' ? 'huge' : '4 KiB'} pages`,
    group: GROUP,
    program: 'cp',
    package: 'coreutils',
    pages,
    folder,
    source: () => context.plainFile(),
    args: (source, target) => Promise.resolve([source, target]),
  });
}
