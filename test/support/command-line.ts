/** The program as people start it: bin/weightgate in a process of its own. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export const PROJECT = join(import.meta.dirname, '..', '..');
const PROGRAM = join(PROJECT, 'bin', 'weightgate');

export interface Outcome {
  /** 128 and the number of the signal when a signal ended it, as a shell counts. */
  readonly exitCode: number;
  readonly output: string;
  readonly errors: string;
}

export interface RunningCommand {
  readonly child: ChildProcess;
  readonly outcome: Promise<Outcome>;
}

export interface StartOptions {
  /** Another user to run as; only root can ask for it. */
  readonly uid?: number;
}

export function startCommand(args: readonly string[], options: StartOptions = {}): RunningCommand {
  const identity = options.uid === undefined ? {} : { uid: options.uid, gid: options.uid };
  const child = spawn(PROGRAM, args, { stdio: ['ignore', 'pipe', 'pipe'], ...identity });
  return { child, outcome: outcomeOf(child) };
}

export async function runCommand(...args: readonly string[]): Promise<Outcome> {
  return await startCommand(args).outcome;
}

/** Runs a command that has to succeed. */
export async function succeed(...args: readonly string[]): Promise<string> {
  const { exitCode, output, errors } = await runCommand(...args);
  if (exitCode !== 0) throw new Error(`weightgate ${args.join(' ')}: exit ${exitCode}: ${errors}`);
  return output.trimEnd();
}

/** Starts a command that goes on, and waits for a line that begins with the announcement. */
export async function startUntil(announcement: string, ...args: readonly string[]): Promise<RunningCommand> {
  const command = startCommand(args);
  const { stdout } = command.child;
  if (stdout === null) throw new Error('no output to read');
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  createInterface({ input: stdout }).on('line', (line) => {
    if (line.startsWith(announcement)) resolve(undefined);
  });
  void command.outcome.then(({ errors }) => {
    reject(new Error(errors));
  });
  await promise;
  return command;
}

async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  const [output, errors, ended] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    once(child, 'exit'),
  ]);
  const [code, signal] = ended as [number | null, NodeJS.Signals | null];
  return { exitCode: code ?? (signal === 'SIGINT' ? 130 : 143), output, errors };
}

async function collect(stream: NodeJS.ReadableStream | null): Promise<string> {
  let text = '';
  stream?.setEncoding('utf8');
  for await (const piece of stream ?? []) text += String(piece);
  return text;
}
