/** A gocryptfs file system with the weights in it. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { MemoryWatch } from '../support/memory.ts';
import { runProgram } from '../support/program.ts';
import { WEIGHTS, type Context } from './context.ts';

const MOUNT_MILLISECONDS = 10_000;
const POLL_MILLISECONDS = 20;

export class Vault {
  readonly #context: Context;
  readonly #program: string;
  readonly #mount: string;
  readonly #vault: string;
  readonly #passphraseFile: string;

  /** @param program path of gocryptfs */
  constructor(context: Context, program: string) {
    this.#context = context;
    this.#program = program;
    this.#mount = context.workplace.path('vault-opened');
    this.#vault = context.workplace.path('vault');
    this.#passphraseFile = context.workplace.path('vault-passphrase');
  }

  /** The weights while it is open. */
  get opened(): string {
    return join(this.#mount, WEIGHTS);
  }

  /** The weights as they lie encrypted. Makes the file system when it is asked for first. */
  encrypted(): Promise<string> {
    return this.#context.once('vault', async () => {
      for (const folder of [this.#vault, this.#mount]) await mkdir(folder);
      await writeFile(this.#passphraseFile, randomBytes(16).toString('hex'), { mode: 0o600 });
      // How the passphrase is stretched costs no time that is measured.
      const choices = ['-init', '-q', '-scryptn', '10', '-plaintextnames'];
      const args = [...choices, '-passfile', this.#passphraseFile, this.#vault];
      await runProgram(this.#program, args, this.#context);
      const plain = await this.#context.plainFile();
      await this.whileOpen(() => copyFile(plain, this.opened));
      return join(this.#vault, WEIGHTS);
    });
  }

  /** Mounts it afresh, works, and unmounts it. @returns also the most memory of the file system that was seen */
  async whileOpen<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly memoryBytes: number }> {
    const args = ['-fg', '-q', '-passfile', this.#passphraseFile, this.#vault, this.#mount];
    const fileSystem = spawn(this.#program, args, { stdio: 'ignore' });
    try {
      await this.#untilMounted(fileSystem);
      using memory = new MemoryWatch(fileSystem.pid ?? 0);
      const result = await work();
      return { result, memoryBytes: memory.unshared };
    } finally {
      // It unmounts itself.
      fileSystem.kill('SIGTERM');
      if (!hasEnded(fileSystem)) await once(fileSystem, 'exit');
    }
  }

  async #untilMounted(fileSystem: ChildProcess): Promise<void> {
    for (let waited = 0; waited < MOUNT_MILLISECONDS; waited += POLL_MILLISECONDS) {
      if (hasEnded(fileSystem)) throw new Error('gocryptfs ended before it had mounted anything');
      if ((await readFile('/proc/mounts', 'utf8')).includes(` ${this.#mount} fuse`)) return;
      await delay(POLL_MILLISECONDS);
    }
    throw new Error(`gocryptfs mounted nothing within ${MOUNT_MILLISECONDS} ms`);
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}
