/** The calls of the C library that confine a process, reached through koffi: no compiled part of our own. */

import koffi from 'koffi';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const processRefusals = defineRefusals('environment', {
  'process-platform': {
    means: 'This operating system or processor has no confinement that this release knows.',
    hint: 'Run the agent on Linux on x86-64 or arm64.',
  },
  'process-confinement': {
    means: 'The kernel did not put a confinement in force.',
    hint: 'Use a kernel with CONFIG_SECCOMP_FILTER, and a container runtime that permits prctl and seccomp.',
  },
  'process-orphaned': {
    means: 'The process that started this one is gone.',
    hint: 'Start the agent again; an engine never runs without the agent that watches it.',
  },
});

/** `struct sock_fprog` of `linux/filter.h`: the count of instructions and where they stand. */
interface FilterProgram {
  readonly len: number;
  readonly filter: Uint8Array;
}

export interface ProcessLibrary {
  prctl(option: number, a: number, b: number, c: number, d: number): number;
  /** For PR_GET_PDEATHSIG, which answers through a pointer. */
  prctlInto(option: number, answer: Uint8Array): number;
  getrlimit(resource: number, limits: Uint8Array): number;
  setrlimit(resource: number, limits: Uint8Array): number;
  fcntl(descriptor: number, command: number, value: number): number;
  /** seccomp(2) through syscall(2): the C library has no function of that name. */
  seccomp(systemCall: number, operation: number, flags: number, program: FilterProgram): number;
  /** The text of the last error, such as `EPERM`. */
  lastError(): string;
}

let loaded: ProcessLibrary | undefined;

/** @throws RefusalError `process-platform` */
export function processLibrary(): ProcessLibrary {
  loaded ??= load();
  return loaded;
}

function load(): ProcessLibrary {
  if (process.platform !== 'linux') {
    throw processRefusals.error('process-platform', {
      field: 'platform',
      expected: 'linux',
      found: process.platform,
    });
  }
  const library = koffi.load(null);
  const filterProgram = koffi.struct({ len: 'uint16_t', filter: 'void *' });
  return {
    prctl: library.func(
      'int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)',
    ) as ProcessLibrary['prctl'],
    prctlInto: library.func('prctl', 'int', ['int', 'void *']) as ProcessLibrary['prctlInto'],
    getrlimit: library.func('int getrlimit(int, void *)') as ProcessLibrary['getrlimit'],
    setrlimit: library.func('int setrlimit(int, void *)') as ProcessLibrary['setrlimit'],
    fcntl: library.func('int fcntl(int, int, long)') as ProcessLibrary['fcntl'],
    seccomp: library.func('syscall', 'long', [
      'long',
      'unsigned long',
      'unsigned long',
      koffi.pointer(filterProgram),
    ]) as ProcessLibrary['seccomp'],
    lastError: () => errorName(koffi.errno()),
  };
}

function errorName(number: number): string {
  const found = Object.entries(koffi.os.errno).find(([, value]) => value === number);
  return found?.[0] ?? `errno ${number}`;
}
