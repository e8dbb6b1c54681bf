/** Runs the appending process under strace(1), which writes down its calls, or kills it at one, or lets one fail. */

import { spawn } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { readEvents, type Work, type WorkEvent } from './work.ts';

/** The calls by which anything on a disk changes; the process itself needs them for its files alone. */
const CALLS = 'pwrite64,write,fsync,fdatasync,rename,ftruncate,unlink';

/** One call that touches the folder of the log. */
export interface Call {
  readonly name: string;
  /** Which call of this name it is in its thread, from 1: what strace counts. */
  readonly count: number;
  /** Relative to the folder, without what is random in it. */
  readonly file: string;
}

/** What strace does to the call: ends the process before it, or lets it fail without doing it. */
export type Injection =
  | { readonly call: Call; readonly does: 'kill' }
  | {
      readonly call: Call;
      readonly does: 'fail';
      readonly error: 'EIO' | 'ENOSPC';
      readonly onwards: boolean;
    };

export interface TracedRun {
  readonly events: readonly WorkEvent[];
  /** In the order in which they began. */
  readonly calls: readonly Call[];
  readonly signal: NodeJS.Signals | null;
  /** What it said of failures that it has no refusal for. */
  readonly errors: string;
}

const PROGRAM = join(import.meta.dirname, 'append-until-killed.ts');

/** The program, for those who run it without strace. */
export function appendingCommand(work: Work): readonly [string, ...string[]] {
  return [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM, JSON.stringify(work)];
}

/** @throws Error when strace itself does not run, such as where tracing is not permitted */
export async function runTraced(work: Work, injection?: Injection): Promise<TracedRun> {
  const trace = `${work.folder}.trace`;
  // With its filter in the kernel strace is faster, and injects no signals.
  const mode = injection === undefined ? ['--seccomp-bpf'] : ['-e', `inject=${injectionOf(injection)}`];
  const args = ['-f', '-y', '-e', `trace=${CALLS}`, ...mode, '-o', trace];
  const { output, errors, signal } = await run('strace', [...args, ...appendingCommand(work)]);
  const text = await readFile(trace, 'latin1').catch(() => '');
  if (text === '') throw new Error(`strace traced nothing: ${errors.trim()}`);
  await rm(trace);
  return { events: readEvents(output), calls: readCalls(text, work.folder), signal, errors };
}

function injectionOf(injection: Injection): string {
  const { name, count } = injection.call;
  if (injection.does === 'kill') return `${name}:signal=KILL:when=${count}`;
  return `${name}:error=${injection.error}:when=${count}${injection.onwards ? '+' : ''}`;
}

/** One thing that a process did, in order: to a file of its folder, or by what it said. */
export type Step =
  | { readonly does: 'create' | 'sync' | 'unlink'; readonly path: string }
  | { readonly does: 'write'; readonly path: string; readonly bytes: Uint8Array; readonly at: number | 'end' }
  | { readonly does: 'truncate'; readonly path: string; readonly length: number }
  | { readonly does: 'rename'; readonly path: string; readonly to: string }
  | { readonly does: 'say'; readonly text: string };

/** More than any one write of a log. */
const MAX_WRITE_BYTES = 1 << 22;

/** All that a piece of work does and says, with every byte. Paths are relative to the folder; '' is the folder itself. */
export async function recordSteps(work: Work): Promise<readonly Step[]> {
  const trace = `${work.folder}.trace`;
  const calls = `${CALLS},openat,writev`;
  const args = [
    '-f',
    '-y',
    '-xx',
    '-s',
    String(MAX_WRITE_BYTES),
    '--seccomp-bpf',
    '-e',
    `trace=${calls}`,
    '-o',
    trace,
  ];
  const { errors } = await run('strace', [...args, ...appendingCommand(work)]);
  const text = await readFile(trace, 'latin1').catch(() => '');
  if (text === '') throw new Error(`strace traced nothing: ${errors.trim()}`);
  await rm(trace);
  return text.split('\n').flatMap((line) => stepsOf(line, work.folder));
}

function stepsOf(line: string, folder: string): readonly Step[] {
  const [, name = '', rest = ''] = /^\d+ +(\w+)\((.*)/.exec(line) ?? [];
  const texts = [...rest.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex = '']) => bytesOf(hex));
  const opened = bytesOf(/^\d+<((?:\\x[0-9a-f]{2})*)>/.exec(rest)?.[1] ?? '');
  const inside = (bytes: Uint8Array = opened): string | undefined => {
    const path = `${Buffer.from(bytes).toString()}/`;
    return path.startsWith(`${folder}/`) ? path.slice(folder.length + 1, -1) : undefined;
  };
  if (name === 'writev') {
    const text = texts.map((bytes) => Buffer.from(bytes).toString()).join('');
    return text.startsWith('{"kind"') ? [{ does: 'say', text }] : [];
  }
  const [first, second] = texts;
  const path = ['openat', 'rename', 'unlink'].includes(name) ? inside(first) : inside();
  if (path === undefined) return [];
  // Of a call with numbers at its end, the last is the offset or length that counts.
  const last = Number(/, (\d+)(?:\)| <unfinished)/.exec(rest)?.[1]);
  switch (name) {
    case 'openat':
      return rest.includes('O_CREAT') ? [{ does: 'create', path }] : [];
    case 'pwrite64':
      return [{ does: 'write', path, bytes: first ?? new Uint8Array(0), at: last }];
    case 'write':
      return [{ does: 'write', path, bytes: first ?? new Uint8Array(0), at: 'end' }];
    case 'ftruncate':
      return [{ does: 'truncate', path, length: last }];
    case 'rename':
      return [{ does: 'rename', path, to: inside(second) ?? '' }];
    case 'unlink':
      return [{ does: 'unlink', path }];
    default:
      return [{ does: 'sync', path }];
  }
}

function bytesOf(escaped: string): Uint8Array {
  return Uint8Array.from(Buffer.from(escaped.replaceAll('\\x', ''), 'hex'));
}

interface Ended {
  readonly output: string;
  readonly errors: string;
  readonly signal: NodeJS.Signals | null;
}

export function run(command: string, args: readonly string[]): Promise<Ended> {
  // With one thread for files there is one order of calls, and one count of them.
  const env = { ...process.env, UV_THREADPOOL_SIZE: '1' };
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  let [output, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (output += piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (errors += piece));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (_code, signal) => {
      resolve({ output, errors, signal });
    });
  });
}

/** @param text lines such as `123 pwrite64(24</path>, …) = 24` and `123 rename("/path", "/path") = 0` */
export function readCalls(text: string, folder: string): readonly Call[] {
  const counts = new Map<string, number>();
  return text.split('\n').flatMap((line) => {
    const match = /^(\d+) +(\w+)\((.*)/.exec(line);
    if (match === null || line.includes('resumed>')) return [];
    const [, thread = '', name = '', rest = ''] = match;
    const count = (counts.get(`${thread} ${name}`) ?? 0) + 1;
    counts.set(`${thread} ${name}`, count);
    const path = /^(?:\d+<|")([^>"]*)[>"]/.exec(rest)?.[1];
    return path?.startsWith(folder) === true ? [{ name, count, file: fileOf(path, folder) }] : [];
  });
}

function fileOf(path: string, folder: string): string {
  const file = path.slice(folder.length + 1).replace(/\.[-0-9a-f]{36}\.partial$/, 'checkpoint, new');
  return file === '' ? 'folder' : file;
}
