/** What is done before a run, so that it does not measure what was there before it. */

import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';

import { availableBytes } from '../../native/memory/available.ts';
import { libc, MADV_POPULATE_WRITE } from '../../native/memory/libc.ts';
import { Mapping } from '../../native/memory/mapping.ts';

const PIECE_BYTES = 4 * 1024 * 1024;
/** Never the last of the memory: the kernel would begin to end processes. */
const SPARED_BYTES = 1024 ** 3;

/**
 * Takes as much memory as a run will write to and gives it back. A virtual machine returns free memory to its host,
 * and the first to touch it waits for the host: that is no property of what is measured.
 */
export function touchMemory(bytes: number): void {
  const room = availableBytes(readFileSync('/proc/meminfo', 'latin1')) - SPARED_BYTES;
  const length = Math.min(bytes, room);
  if (length <= 0) return;
  const memory = Mapping.create(length, { locking: 'on-fault' });
  libc().madvise(memory.address, length, MADV_POPULATE_WRITE);
  memory.unmap();
}

/** Reads a file to its end, so that it is in the page cache. */
export async function readThrough(path: string, signal: AbortSignal): Promise<void> {
  const file = await open(path, 'r');
  try {
    const piece = new Uint8Array(PIECE_BYTES);
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, null);
      if (bytesRead === 0) return;
    }
  } finally {
    await file.close();
  }
}
