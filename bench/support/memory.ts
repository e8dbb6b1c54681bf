/** What the kernel says of the memory of a process (proc_pid_status(5)). */

import { readFileSync } from 'node:fs';

const KIBIBYTE = 1024;

/** All in bytes. */
export interface ProcessMemory {
  /** VmHWM: the most that was ever resident, of all kinds. */
  readonly peak: number;
  /** RssAnon: heaps, stacks, buffers. */
  readonly anonymous: number;
  /** RssFile: programs and libraries, which other processes may share. */
  readonly file: number;
  /** RssShmem: pages of memory files and of tmpfs that are mapped. */
  readonly shared: number;
  /** VmPTE: what the kernel needs to map all of it. */
  readonly pageTables: number;
}

/** @param text of /proc/<pid>/status; undefined for a process that has ended, which has no memory lines */
export function parseStatus(text: string): ProcessMemory | undefined {
  const field = (name: string): number | undefined => {
    const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
    return kibibytes === undefined ? undefined : Number(kibibytes) * KIBIBYTE;
  };
  const [peak, anonymous, file, shared, pageTables] = [
    'VmHWM',
    'RssAnon',
    'RssFile',
    'RssShmem',
    'VmPTE',
  ].map(field);
  if (peak === undefined || anonymous === undefined || file === undefined) return undefined;
  if (shared === undefined || pageTables === undefined) return undefined;
  return { peak, anonymous, file, shared, pageTables };
}

/** Undefined when there is no such process any more. */
export function readMemory(process: number | 'self'): ProcessMemory | undefined {
  try {
    return parseStatus(readFileSync(`/proc/${process}/status`, 'latin1'));
  } catch {
    return undefined;
  }
}

const SAMPLE_MILLISECONDS = 10;

/** Looks at another process again and again. What rises and falls between two looks is not seen. */
export class MemoryWatch implements Disposable {
  /** The most of anonymous and file pages together that was seen, in bytes. */
  unshared = 0;
  readonly #process: number;
  readonly #timer: NodeJS.Timeout;

  constructor(process: number) {
    this.#process = process;
    this.#look();
    this.#timer = setInterval(() => {
      this.#look();
    }, SAMPLE_MILLISECONDS);
  }

  #look(): void {
    const memory = readMemory(this.#process);
    if (memory !== undefined) this.unshared = Math.max(this.unshared, memory.anonymous + memory.file);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
