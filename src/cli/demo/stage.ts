/** Where the demonstration plays: a temporary folder, the program's own commands, and what it shows of both. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { stripVTControlCharacters, styleText } from 'node:util';

import { defineRefusals } from '../../../attestation/core/refusal.ts';

export const demoRefusals = defineRefusals('unacceptable', {
  'demo-step-failed': {
    means: 'A step of the demonstration did not end as it should have.',
    hint: 'Read the lines of that step; the threat model and the specifications say what was to be expected.',
  },
});

const NODE_ARGUMENTS = ['--disable-warning=ExperimentalWarning'];
const PROGRAM = join(import.meta.dirname, '..', 'main.ts');

/** How a command ended, with what it said. */
export interface CommandOutcome {
  readonly exitCode: number;
  readonly output: string;
  readonly errors: string;
}

/** A command that goes on, such as a server. */
export interface LongRunning {
  /** What it announced when it was ready. */
  readonly announced: string;
  stop(): Promise<void>;
}

export class Stage implements AsyncDisposable {
  readonly folder: string;
  private readonly signal: AbortSignal;
  private stepNumber = 0;

  private constructor(folder: string, signal: AbortSignal) {
    this.folder = folder;
    this.signal = signal;
  }

  static async open(signal: AbortSignal): Promise<Stage> {
    return new Stage(await mkdtemp(join(tmpdir(), 'weightgate-demo-')), signal);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  step(title: string): void {
    this.signal.throwIfAborted();
    this.stepNumber += 1;
    this.say(`\n${styleText('bold', `${this.stepNumber}. ${title}`)}`);
  }

  /** Says what was checked, so that the reader need not guess. */
  checked(text: string): void {
    this.say(`   checked: ${text}`);
  }

  say(text: string): void {
    process.stdout.write(`${process.stdout.isTTY ? text : stripVTControlCharacters(text)}\n`);
  }

  /** Runs a command of this program and shows it with its output. */
  async run(...args: readonly string[]): Promise<CommandOutcome> {
    const outcome = await this.runQuietly(...args);
    this.show(args, outcome);
    return outcome;
  }

  /** As `run`; a command that fails ends the demonstration. */
  async succeed(...args: readonly string[]): Promise<string> {
    const outcome = await this.run(...args);
    if (outcome.exitCode !== 0) failed(args, 'exit code 0', `${outcome.exitCode}`);
    return outcome.output.trim();
  }

  show(args: readonly string[], { output, errors }: CommandOutcome): void {
    this.say(styleText('dim', `   $ weightgate ${this.shorten(args.join(' '))}`));
    for (const line of `${output}${errors}`.split('\n'))
      if (line !== '') this.say(`   ${this.shorten(line)}`);
  }

  async runQuietly(...args: readonly string[]): Promise<CommandOutcome> {
    const child = this.start(args);
    const [output, errors, exitCode] = await Promise.all([
      collectText(child.stdout),
      collectText(child.stderr),
      exitOf(child),
    ]);
    this.signal.throwIfAborted();
    return { exitCode, output, errors };
  }

  /**
   * Starts a command that goes on, and waits until a line of it begins with the announcement.
   *
   * @param announcement for example `serving `
   */
  async keepRunning(announcement: string, ...args: readonly string[]): Promise<LongRunning> {
    this.say(styleText('dim', `   $ weightgate ${this.shorten(args.join(' '))}`));
    const child = this.start(args);
    let isStopping = false;
    const stop = async (): Promise<void> => {
      isStopping = true;
      child.kill('SIGTERM');
      await exitOf(child);
    };
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => {
        // The operational log is JSON and not for this screen.
        if (!line.startsWith('{') && !isStopping) this.say(`   ${this.shorten(line)}`);
        if (line.startsWith(announcement)) resolve(line.slice(announcement.length));
      });
    }
    void exitOf(child).then(() => {
      resolve(undefined);
    });
    const announced = await promise;
    if (announced === undefined) failed(args, `a line with "${announcement}"`, 'its end');
    return { announced, stop };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** What belongs to the stage is shown relative to it, as a user in that folder would type it. */
  private shorten(text: string): string {
    return text.replaceAll(`${this.folder}/`, '').replaceAll(`${process.cwd()}/`, '');
  }

  private start(args: readonly string[]): ChildProcess {
    return spawn(process.execPath, [...NODE_ARGUMENTS, PROGRAM, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}

function failed(args: readonly string[], expected: string, found: string): never {
  const field = `weightgate ${args.slice(0, 2).join(' ')}`;
  throw demoRefusals.error('demo-step-failed', { field, expected, found });
}

async function collectText(stream: NodeJS.ReadableStream | null): Promise<string> {
  let text = '';
  if (stream === null) return text;
  stream.setEncoding('utf8');
  for await (const piece of stream) text += String(piece);
  return text;
}

async function exitOf(child: ChildProcess): Promise<number> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.exitCode ?? 1;
}
