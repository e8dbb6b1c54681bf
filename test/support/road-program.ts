/** Commands of the program as processes of their own, as a user runs them. */

import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const PROGRAM = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

/** How a command ended. */
export interface Outcome {
  /** As a shell tells it: a process that a signal ended has 128 and the number of the signal. */
  readonly exitCode: number;
  /** Lines of both streams, in the order in which they came. */
  readonly lines: readonly string[];
  /** The line that says why it failed, without the name of the program. */
  readonly failure: string;
  /** The refusal code in that line. */
  readonly code: string;
}

const running = new Set<Program>();
process.once('exit', () => {
  for (const program of running) program.signalGroup('SIGKILL');
});

/** One running command, in a process group of its own as a terminal gives it. */
export class Program {
  readonly ended: Promise<Outcome>;
  private readonly child: ChildProcess;
  private readonly lines: string[] = [];
  private readonly watchers = new Set<() => void>();
  private hasEnded = false;

  constructor(args: readonly string[], environment: NodeJS.ProcessEnv, folder: string) {
    const values = ['--disable-warning=ExperimentalWarning', PROGRAM, ...args];
    this.child = spawn(process.execPath, values, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment,
      cwd: folder,
      detached: true,
    });
    running.add(this);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line);
        this.wake();
      });
    }
    this.ended = this.awaitEnd();
  }

  get processId(): number {
    return this.child.pid ?? 0;
  }

  get isRunning(): boolean {
    return !this.hasEnded;
  }

  /** What follows the beginning of a line, of the line that is the n-th with this beginning. */
  async line(beginning: string, count = 1): Promise<string> {
    for (;;) {
      const found = this.lines.filter((line) => line.startsWith(beginning))[count - 1];
      if (found !== undefined) return found.slice(beginning.length);
      if (this.hasEnded) throw new Error(`no line "${beginning}" in:\n${this.lines.join('\n')}`);
      const { promise, resolve } = Promise.withResolvers<undefined>();
      const wake = (): void => {
        resolve(undefined);
      };
      this.watchers.add(wake);
      await promise;
      this.watchers.delete(wake);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** Signals every process of the group, as a terminal does for Ctrl-C. */
  signalGroup(name: NodeJS.Signals): void {
    try {
      process.kill(-this.processId, name);
    } catch {
      // Nothing of the group is left.
    }
  }

  /** Ends it in good order; if it does not end, by force. */
  async stop(limitMilliseconds = 15_000): Promise<Outcome> {
    this.signal('SIGTERM');
    const limit = setTimeout(() => {
      this.signalGroup('SIGKILL');
    }, limitMilliseconds);
    const outcome = await this.ended;
    clearTimeout(limit);
    return outcome;
  }

  private wake(): void {
    for (const wake of this.watchers) wake();
  }

  private async awaitEnd(): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<number>();
    // `close` comes when the last line was read, also that of children which hold the streams.
    this.child.once('close', (status, signal) => {
      resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
    const exitCode = await promise;
    this.hasEnded = true;
    running.delete(this);
    this.wake();
    const said = this.lines.find((line) => line.startsWith(FAILURE)) ?? '';
    const code = /\[([a-z0-9-]+)\]$/.exec(said)?.[1] ?? '';
    return { exitCode, lines: this.lines, failure: said.slice(FAILURE.length), code };
  }
}

const FAILURE = 'weightgate: ';
