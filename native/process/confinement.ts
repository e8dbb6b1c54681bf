/**
 * Confining the process that calls: what cannot be undone, put in force and read back from the kernel. Works with and
 * without root; a setting that does not take is a refusal, never a warning.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { processLibrary, processRefusals } from './library.ts';
import { compileFilter, systemCalls, type Architecture, type Denial } from './seccomp-filter.ts';

/** What is in force for the calling process, as the kernel tells it. */
export interface Confinement {
  readonly coreLimitBytes: number;
  readonly dumpable: boolean;
  readonly noNewPrivileges: boolean;
  /** The signal that the process gets when the thread that started it ends; 0 for none. */
  readonly parentDeathSignal: number;
  /** How many seccomp filters stand one after another; 0 where there is none. */
  readonly seccompFilters: number;
  /** io_uring instances that are open: each a way round the filters. */
  readonly openRings: number;
}

/** `linux/prctl.h` */
const PR_SET_PDEATHSIG = 1;
const PR_GET_PDEATHSIG = 2;
const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_GET_NO_NEW_PRIVS = 39;

const RLIMIT_CORE = 4;
const SIGKILL = 9;

/** `fcntl.h` */
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** `linux/seccomp.h` */
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;

/**
 * No core dump, no reader of this process's memory under the same user, no privileges by a set-user-id program (W5).
 *
 * @throws RefusalError `process-platform`, `process-confinement`
 */
export function hardenProcess(): void {
  const library = processLibrary();
  require('core limit', library.setrlimit(RLIMIT_CORE, new Uint8Array(16)));
  require('dumpable', library.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
  require('no new privileges', library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

/**
 * Ties the life of this process to the one that started it.
 *
 * @param parent the process id that the starter gave itself
 * @throws RefusalError `process-orphaned` when the starter went before this took hold
 */
export function dieWithParent(parent: number): void {
  require('parent death signal', processLibrary().prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
  if (process.ppid !== parent) {
    throw processRefusals.error('process-orphaned', {
      field: 'parent',
      expected: `process ${parent}`,
      found: `process ${process.ppid}`,
    });
  }
}

/** Keeps a file descriptor from every program that this process may start. */
export function keepFromPrograms(descriptor: number): void {
  require(`descriptor ${descriptor}`, processLibrary().fcntl(descriptor, F_SETFD, FD_CLOEXEC));
}

/**
 * Becomes another program: filters, renounced privileges and the parent's death signal stay in force, and so do the
 * named file descriptors; whether the process is dumpable does not, and must be set again.
 */
export function becomeProgram(
  path: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  descriptors: readonly number[],
): never {
  for (const descriptor of descriptors) {
    require(`descriptor ${descriptor}`, processLibrary().fcntl(descriptor, F_SETFD, 0));
  }
  if (process.execve === undefined) {
    throw processRefusals.error('process-platform', {
      field: 'process.execve',
      expected: 'a Node that has it (24 or later)',
      found: process.version,
    });
  }
  return process.execve(path, [...args], { ...environment });
}

/**
 * Gives up system calls for all threads of this process, for good. `hardenProcess` must have run: the kernel takes
 * a filter from an unprivileged process only after it renounced new privileges.
 *
 * Node opens an io_uring when it starts and aborts when it may not use it any more, and an open ring makes calls that
 * no filter sees. So a Node process that renounces rings does nothing after this but `becomeProgram`.
 *
 * @throws RefusalError `process-platform`, `process-confinement`
 */
export function renounceSystemCalls(denials: readonly Denial[]): void {
  const architecture = knownArchitecture();
  const filter = compileFilter(denials, architecture);
  const answer = processLibrary().seccomp(
    systemCalls.seccomp[architecture],
    SECCOMP_SET_MODE_FILTER,
    SECCOMP_FILTER_FLAG_TSYNC,
    { len: filter.length / 8, filter },
  );
  require('seccomp filter', answer);
}

/** The descriptor by which the folder itself was listed is closed again by now and has no target. */
function isRing(descriptor: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`) === 'anon_inode:[io_uring]';
  } catch {
    return false;
  }
}

function knownArchitecture(): Architecture {
  if (process.arch === 'x64' || process.arch === 'arm64') return process.arch;
  throw processRefusals.error('process-platform', {
    field: 'architecture',
    expected: 'x64 or arm64',
    found: process.arch,
  });
}

/** What the kernel says is in force now. @throws RefusalError `process-platform`, `process-confinement` */
export function readConfinement(): Confinement {
  const library = processLibrary();
  const limits = new Uint8Array(16);
  require('core limit', library.getrlimit(RLIMIT_CORE, limits));
  const signal = new Uint8Array(4);
  require('parent death signal', library.prctlInto(PR_GET_PDEATHSIG, signal));
  const status = readFileSync('/proc/self/status', 'utf8');
  return {
    coreLimitBytes: Number(new DataView(limits.buffer).getBigUint64(0, true)),
    dumpable: library.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) !== 0,
    noNewPrivileges: library.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) === 1,
    parentDeathSignal: new DataView(signal.buffer).getInt32(0, true),
    seccompFilters: Number(/^Seccomp_filters:\s*(\d+)$/m.exec(status)?.[1] ?? 0),
    openRings: readdirSync('/proc/self/fd').filter(isRing).length,
  };
}

/** A call of the C library answers 0, or a thread's id for a filter that could not be put on that thread. */
function require(what: string, answer: number): void {
  if (answer === 0) return;
  throw processRefusals.error('process-confinement', {
    field: what,
    expected: 'in force',
    found: answer > 0 ? `thread ${answer} stayed outside` : processLibrary().lastError(),
  });
}
