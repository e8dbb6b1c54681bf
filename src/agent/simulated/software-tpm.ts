/**
 * A TPM in software (swtpm), for evaluation and tests: a process of its own, with an endorsement key certificate from
 * a certification authority that is made beside it. Whoever runs it can read its keys and reset its PCRs, so only a
 * server born in evaluation mode takes this authority as an anchor (W9).
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { X509Certificate } from 'node:crypto';

import { excerpt } from '../../../attestation/core/bytes.ts';
import { defineRefusals, RefusalError } from '../../../attestation/core/refusal.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';

export const softwareTpmRefusals = defineRefusals('environment', {
  'tpm-simulator-missing': {
    means: 'The programs of the software TPM are not installed.',
    hint: 'Install them: apt-get install swtpm swtpm-tools gnutls-bin.',
  },
  'tpm-simulator-failed': {
    means: 'The software TPM could not be made or did not start.',
    hint: 'Read swtpm.log and swtpm_setup.log in its folder; the folder must be writable and not in use.',
  },
});

/** Digests by PCR number, extended one after another, as firmware and boot loader would. */
export type BootMeasurements = Readonly<Record<number, readonly Uint8Array[]>>;

export interface ManufactureOptions {
  /** Folder of the certification authority; several TPMs may share one. By default inside the TPM's own folder. */
  readonly authorityFolder?: string;
}

const SIMULATOR = 'swtpm';

/** Has the kernel end the simulator when the process that started it ends, in whatever way (util-linux). */
const END_WITH_PARENT = { program: 'setpriv', values: ['--pdeathsig', 'KILL', '--'] } as const;

const PORT_ATTEMPTS = 20;
const START_LIMIT_MILLISECONDS = 10_000;
const STOP_LIMIT_MILLISECONDS = 3_000;
const POLL_MILLISECONDS = 20;

/** Only what the programs need: no variable of the caller changes what they do. */
function environment(): NodeJS.ProcessEnv {
  return { PATH: `${process.env['PATH'] ?? ''}:/usr/bin:/usr/sbin:/bin:/sbin`, LC_ALL: 'C' };
}

/**
 * Makes a new TPM in `folder`: state, endorsement keys for RSA 2048 and P-384, and their certificates. Nothing
 * outside the folders named is written, and no configuration of the machine is read.
 *
 * @throws RefusalError `tpm-simulator-missing`, `tpm-simulator-failed`
 */
export async function manufactureSoftwareTpm(
  folder: string,
  options: ManufactureOptions = {},
): Promise<void> {
  const authority = options.authorityFolder ?? authorityFolderOf(folder);
  const state = stateFolderOf(folder);
  await findProgram(SIMULATOR);
  const configuration = await inFolder(folder, async () => {
    for (const path of [state, authority]) await mkdir(path, { recursive: true, mode: 0o700 });
    return writeConfiguration(folder, authority);
  });
  const log = join(folder, 'swtpm_setup.log');
  await runProgram('swtpm_setup', [
    ...['--tpm2', '--tpm-state', state, '--config', configuration, '--logfile', log],
    ...['--createek', '--create-ek-cert', '--pcr-banks', 'sha256', '--lock-nvram'],
  ]);
}

/** Does work with files of the folder. @throws RefusalError `tpm-simulator-failed` for what the system refuses */
async function inFolder<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof RefusalError) throw cause;
    throw softwareTpmRefusals.error(
      'tpm-simulator-failed',
      { field: folder, expected: 'a folder to work in', found: errorCode(cause) },
      { cause },
    );
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : 'an error';
}

function stateFolderOf(folder: string): string {
  return join(folder, 'state');
}

function authorityFolderOf(folder: string): string {
  return join(folder, 'authority');
}

/** Writes the files that swtpm_setup and swtpm_localca would otherwise take from /etc. Returns the first one's path. */
async function writeConfiguration(folder: string, authority: string): Promise<string> {
  const authorityPath = join(folder, 'swtpm-localca.conf');
  const optionsPath = join(folder, 'swtpm-localca.options');
  const setupPath = join(folder, 'swtpm_setup.conf');
  const lines = (members: Readonly<Record<string, string>>): string =>
    Object.entries(members)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join('');
  await writeFile(
    authorityPath,
    lines({
      statedir: authority,
      signingkey: join(authority, 'signkey.pem'),
      issuercert: join(authority, 'issuercert.pem'),
      certserial: join(authority, 'certserial'),
    }),
  );
  await writeFile(optionsPath, '');
  await writeFile(
    setupPath,
    lines({
      create_certs_tool: await findProgram('swtpm_localca'),
      create_certs_tool_config: authorityPath,
      create_certs_tool_options: optionsPath,
    }),
  );
  return setupPath;
}

async function findProgram(name: string): Promise<string> {
  const { stdout } = await runProgram('sh', ['-c', 'command -v "$0" || true', name]);
  if (stdout.trim() === '') throw missingProgram(name);
  return stdout.trim();
}

async function runProgram(name: string, values: readonly string[]): Promise<{ readonly stdout: string }> {
  try {
    return await promisify(execFile)(name, values, { env: environment() });
  } catch (cause) {
    const { code, stderr = '' } = cause as { code?: unknown; stderr?: string };
    if (code === 'ENOENT') throw missingProgram(name);
    const found = excerpt(stderr.trim().split('\n').at(-1) ?? '') || `exit code ${String(code)}`;
    throw softwareTpmRefusals.error(
      'tpm-simulator-failed',
      { field: name, expected: 'success', found },
      { cause },
    );
  }
}

function missingProgram(name: string): Error {
  return softwareTpmRefusals.error('tpm-simulator-missing', {
    field: name,
    expected: 'an installed program',
    found: 'none of that name',
  });
}

/**
 * The certificates of the authority that certified the TPM in `folder`, as DER: the root first, then the issuer.
 *
 * @param authorityFolder where it was made, if not inside `folder`
 */
export async function softwareTpmAnchors(
  folder: string,
  authorityFolder = authorityFolderOf(folder),
): Promise<readonly Uint8Array[]> {
  const names = ['swtpm-localca-rootca-cert.pem', 'issuercert.pem'];
  return Promise.all(
    names.map(
      async (name) => new Uint8Array(new X509Certificate(await readFile(join(authorityFolder, name))).raw),
    ),
  );
}

/** A running software TPM. It listens on the loopback interface only and never outlives this process. */
export class SoftwareTpm {
  readonly folder: string;
  private child: ChildProcess;
  private port: number;

  private constructor(folder: string, child: ChildProcess, port: number) {
    this.folder = folder;
    this.child = child;
    this.port = port;
  }

  /**
   * Starts the TPM that was made in `folder`, as a machine that is switched on: PCRs at their initial values.
   *
   * @throws RefusalError `tpm-simulator-missing`, `tpm-simulator-failed`
   */
  static async start(folder: string): Promise<SoftwareTpm> {
    const { child, port } = await launchOnFreePort(folder);
    return new SoftwareTpm(folder, child, port);
  }

  /** The TCTI text under which it answers. A reset keeps it, unless another program took the port meanwhile. */
  get address(): string {
    return `swtpm:host=127.0.0.1,port=${this.port}`;
  }

  get processId(): number | undefined {
    return this.child.pid;
  }

  /** Extends the SHA-256 PCRs as the start of a machine would. */
  async measureBoot(measurements: BootMeasurements): Promise<void> {
    await this.use(async (tpm) => {
      for (const [pcr, digests] of Object.entries(measurements)) {
        for (const digest of digests) await tpm.extendPcr(Number(pcr), digest);
      }
    });
  }

  /** Switches the machine off in good order and on again: the reset count goes up, the PCRs begin anew. */
  async reset(): Promise<void> {
    await this.stop();
    const { child, port } = await launchOnFreePort(this.folder, this.port);
    this.child = child;
    this.port = port;
  }

  /** Switches it off in good order and ends the process. */
  async stop(): Promise<void> {
    // An unclean stop only makes the clock unsafe; the process must end in any case.
    if (isRunning(this.child)) await this.use((tpm) => tpm.shutdown()).catch(() => undefined);
    await endProcess(this.child);
  }

  private async use(work: (tpm: Tpm) => Promise<void>): Promise<void> {
    const tpm = await Tpm.open(this.address, { through: 'socket', openTimeoutSeconds: 5 });
    try {
      await work(tpm);
    } finally {
      await tpm.close();
    }
  }
}

/** Copies a stopped TPM with its keys and counters, as a thief of the state would. */
export async function copySoftwareTpm(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true, errorOnExist: true, force: false });
}

interface Launched {
  readonly child: ChildProcess;
  readonly port: number;
}

/** Tries free ports until swtpm got both of its own: another program may take one in between. */
async function launchOnFreePort(folder: string, preferred?: number): Promise<Launched> {
  for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt += 1) {
    const port = attempt === 0 && preferred !== undefined ? preferred : await findFreePorts();
    if (port === undefined) continue;
    const child = await launch(folder, port);
    if (await answers(child, port)) return { child, port };
    await endProcess(child);
  }
  throw softwareTpmRefusals.error('tpm-simulator-failed', {
    field: folder,
    expected: `a simulator that answers after at most ${PORT_ATTEMPTS} attempts`,
    found: await lastLine(join(folder, 'swtpm.log')),
  });
}

/** A port whose successor is free too: the stack expects the control channel there. */
async function findFreePorts(): Promise<number | undefined> {
  const first = createServer();
  const second = createServer();
  try {
    first.listen(0, '127.0.0.1');
    await once(first, 'listening');
    const address = first.address();
    if (address === null || typeof address === 'string' || address.port > 65534) return undefined;
    second.listen(address.port + 1, '127.0.0.1');
    await once(second, 'listening');
    return address.port;
  } catch {
    return undefined;
  } finally {
    first.close();
    second.close();
  }
}

async function launch(folder: string, port: number): Promise<ChildProcess> {
  const log = await inFolder(folder, () => open(join(folder, 'swtpm.log'), 'a', 0o600));
  try {
    const listening = (at: number): string => `type=tcp,bindaddr=127.0.0.1,port=${at}`;
    const values = [
      ...['socket', '--tpm2', '--tpmstate', `dir=${stateFolderOf(folder)}`, '--flags', 'startup-clear'],
      ...['--server', listening(port), '--ctrl', listening(port + 1)],
    ];
    const child = spawn(END_WITH_PARENT.program, [...END_WITH_PARENT.values, SIMULATOR, ...values], {
      env: environment(),
      stdio: ['ignore', log.fd, log.fd],
    });
    await once(child, 'spawn');
    return child;
  } catch {
    throw missingProgram(END_WITH_PARENT.program);
  } finally {
    await log.close();
  }
}

async function answers(child: ChildProcess, port: number): Promise<boolean> {
  const until = performance.now() + START_LIMIT_MILLISECONDS;
  while (performance.now() < until) {
    if (!isRunning(child)) return false;
    try {
      const address = `swtpm:host=127.0.0.1,port=${port}`;
      const tpm = await Tpm.open(address, { through: 'socket', openTimeoutSeconds: 1 });
      await tpm.close();
      return isRunning(child);
    } catch {
      await pause(POLL_MILLISECONDS);
    }
  }
  return false;
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function endProcess(child: ChildProcess): Promise<void> {
  if (!isRunning(child)) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const limit = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MILLISECONDS);
  await ended;
  clearTimeout(limit);
}

async function lastLine(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return excerpt(text.trim().split('\n').at(-1) ?? '') || 'nothing in its log';
}
