/** Programs that are measured: each is a process of its own, from its start to its end. */

import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { MemoryWatch } from './memory.ts';

export interface ProgramResult {
  readonly output: string;
  /** From the start of the process to its end. */
  readonly seconds: number;
  /** The most of anonymous and file pages together that was seen, in bytes. */
  readonly memoryBytes: number;
}

export interface ProgramOptions {
  readonly signal: AbortSignal;
  readonly environment?: Readonly<Record<string, string>>;
}

const FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Where a program lies: on the path, or where systems put what only root uses. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':').filter((folder) => folder !== ''), ...FOLDERS];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Runs a program to its end. Rejects when it does not end well, and with the signal's reason when that aborts. */
export async function runProgram(
  command: string,
  args: readonly string[],
  { signal, environment = {} }: ProgramOptions,
): Promise<ProgramResult> {
  signal.throwIfAborted();
  const startedAt = performance.now();
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  const stop = (): void => {
    child.kill('SIGTERM');
  };
  signal.addEventListener('abort', stop);
  using memory = new MemoryWatch(child.pid ?? 0);
  let endedAt = startedAt;
  child.once('exit', () => {
    endedAt = performance.now();
  });
  try {
    const [output, errors, status] = await Promise.all([
      textOf(child.stdout),
      textOf(child.stderr),
      statusOf(child),
    ]);
    signal.throwIfAborted();
    if (status !== 'exit code 0') throw new Error(`${status}: ${reasonOf(errors)}`);
    return { output, seconds: (endedAt - startedAt) / 1000, memoryBytes: memory.unshared };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** The line that says most of what a program complained about. */
function reasonOf(errors: string): string {
  const lines = errors.split('\n').filter((line) => line.trim() !== '');
  return lines.find((line) => /^\S*Error/.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}

async function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  stream.setEncoding('utf8');
  let text = '';
  for await (const piece of stream) text += String(piece);
  return text;
}

function statusOf(child: ReturnType<typeof spawn>): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      resolve(signal === null ? `exit code ${code ?? ''}` : signal);
    });
  });
}

/**
 * Runs a module of this project in a fresh process.
 *
 * @param file calls `report` once
 * @param args given to it as JSON
 * @param prefix a program that starts it in another environment, with its arguments
 * @returns also what it reported, which is of the type that the module exports for it
 */
export async function runModule(
  file: URL,
  args: unknown,
  options: ProgramOptions,
  prefix: readonly string[] = [],
): Promise<ProgramResult & { readonly result: unknown }> {
  const flags = ['--disable-warning=ExperimentalWarning'];
  const module = [process.execPath, ...flags, fileURLToPath(file), JSON.stringify(args)];
  const [command, ...rest] = [...prefix, ...module] as [string, ...string[]];
  const run = await runProgram(command, rest, options);
  return { ...run, result: JSON.parse(run.output) as unknown };
}

/** In a module that `runModule` runs: what it was given. */
export function moduleArguments(): unknown {
  return JSON.parse(process.argv[2] ?? '') as unknown;
}

/** In a module that `runModule` runs: what it found. */
export function report(result: unknown): void {
  process.stdout.write(JSON.stringify(result));
}
