/** On what was measured. */

import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  /** Inside Node.js. */
  readonly openssl: string;
  readonly superuser: boolean;
  /** Whether memory files are of huge pages: the choice in brackets. */
  readonly sharedMemoryHugePages: string;
}

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    openssl: process.versions.openssl,
    superuser: process.getuid?.() === 0,
    sharedMemoryHugePages: chosenOf('/sys/kernel/mm/transparent_hugepage/shmem_enabled'),
  };
}

function chosenOf(path: string): string {
  try {
    return /\[(\w+)\]/.exec(readFileSync(path, 'latin1'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

export function machineLine(machine: Machine): string {
  const memory = (machine.memoryBytes / 2 ** 30).toFixed(0);
  return (
    `${machine.processor}, ${machine.cores} cores, ${memory} GiB, Linux ${machine.kernel}, ` +
    `Node.js ${machine.node} with OpenSSL ${machine.openssl}, ${machine.superuser ? 'root' : 'an ordinary user'}`
  );
}
