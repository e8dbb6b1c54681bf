/** How much memory can be taken before the system begins to end processes. */

import { readFileSync } from 'node:fs';

import { machineSwaps } from './mapping.ts';
import { memoryRefusals } from './refusals.ts';

/**
 * Asked before the first page is taken: a memory file that finds no page ends the process, it gives no error.
 *
 * @throws RefusalError `memory-unavailable`
 */
export function requireAvailableMemory(bytes: number): void {
  const available = availableBytes(readFileSync('/proc/meminfo', 'latin1'));
  if (bytes <= available) return;
  throw memoryRefusals.error('memory-unavailable', {
    field: 'memory.available',
    expected: `${bytes} bytes`,
    found: `${available} bytes`,
  });
}

/** @param information the text of /proc/meminfo, see proc_meminfo(5) */
export function availableBytes(information: string): number {
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(information)?.[1];
  return Number(kibibytes ?? 0) * 1024;
}

/**
 * For plaintext in memory that cannot be locked: an engine keeps repacked copies of weights where nobody else reaches,
 * and V8 ends a process whose pages are all locked (W5).
 *
 * @param swaps the text of /proc/swaps, see proc_swaps(5)
 * @throws RefusalError `memory-swappable`
 */
export function requireNothingToSwapTo(swaps: string = readFileSync('/proc/swaps', 'latin1')): void {
  if (!machineSwaps(swaps)) return;
  throw memoryRefusals.error('memory-swappable', {
    field: 'memory.swap',
    expected: 'no swap area in /proc/swaps',
    found: 'one or more',
  });
}
