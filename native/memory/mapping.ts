/** A range of mapped memory for secrets: locked, left out of core dumps, overwritten before it is given back. */

import { readFileSync } from 'node:fs';

import {
  lastErrorName,
  libc,
  MADV_DONTDUMP,
  MADV_HUGEPAGE,
  MAP_FAILED,
  MAP_PRIVATE_ANONYMOUS,
  MAP_SHARED,
  MLOCK_NOW,
  MLOCK_ONFAULT,
} from './libc.ts';
import { memoryRefusals, memoryUsageRefusals } from './refusals.ts';

const PAGE_BYTES = 4096;

/** What the system granted. */
export interface MemoryProtection {
  /** Kept from being swapped, by a lock or by where it lies. When false, the machine had no swap area then. */
  readonly locked: boolean;
  /** Left out of core dumps. */
  readonly dontDump: boolean;
}

/**
 * When pages are locked: at once, each when it first comes to be in the mapping, or never, because they lie where
 * nothing is swapped.
 */
export type Locking = 'at-once' | 'on-fault' | 'unneeded';

interface MappingOptions {
  readonly fileDescriptor?: number;
  readonly locking?: Locking;
}

export class Mapping {
  /** Usable bytes; the mapping itself is of whole pages. */
  readonly bytes: number;
  readonly protection: MemoryProtection;
  readonly #mappedBytes: number;
  #address: bigint | undefined;

  private constructor(address: bigint, bytes: number, mappedBytes: number, protection: MemoryProtection) {
    this.#address = address;
    this.bytes = bytes;
    this.#mappedBytes = mappedBytes;
    this.protection = protection;
  }

  /**
   * Maps memory and protects it.
   *
   * @param bytes how many are needed; none is allowed
   * @param fileDescriptor a memory file of at least as many bytes, shared; without it private memory
   * @param locking `on-fault` for large ranges that several threads fill
   * @throws RefusalError `memory-unavailable`, `memory-not-lockable`, `memory-platform`
   */
  static create(bytes: number, { fileDescriptor = -1, locking = 'at-once' }: MappingOptions = {}): Mapping {
    const mappedBytes = Math.max(1, Math.ceil(bytes / PAGE_BYTES)) * PAGE_BYTES;
    const flags = fileDescriptor === -1 ? MAP_PRIVATE_ANONYMOUS : MAP_SHARED;
    const address = libc().mmap(mappedBytes, flags, fileDescriptor);
    if (address === MAP_FAILED) {
      throw memoryRefusals.error('memory-unavailable', {
        field: 'memory.mmap',
        expected: `${mappedBytes} bytes`,
        found: lastErrorName(),
      });
    }
    try {
      const dontDump = libc().madvise(address, mappedBytes, MADV_DONTDUMP) === 0;
      // Where the system lets each mapping choose; elsewhere it makes no difference.
      libc().madvise(address, mappedBytes, MADV_HUGEPAGE);
      const locked = locking === 'unneeded' || lockOrProveNoSwap(address, mappedBytes, locking);
      return new Mapping(address, bytes, mappedBytes, { locked, dontDump });
    } catch (error) {
      libc().munmap(address, mappedBytes);
      throw error;
    }
  }

  /**
   * Where the memory starts, for native calls of any thread of this process. Valid until `close`.
   *
   * @throws RefusalError `memory-closed`
   */
  get address(): bigint {
    if (this.#address === undefined) {
      throw memoryUsageRefusals.error('memory-closed', {
        field: 'memory',
        expected: 'memory that is open',
        found: 'memory that was closed',
      });
    }
    return this.#address;
  }

  /** Copies bytes in. @throws RefusalError `memory-out-of-range`, `memory-closed` */
  write(offset: number, source: Uint8Array): void {
    libc().copy(this.#at(offset, source.length), source, source.length);
  }

  /** Copies bytes out; whoever asks for a secret overwrites the copy. @throws as `write` */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const target = offHeapBytes(length);
    libc().copy(target, this.#at(offset, length), length);
    return target;
  }

  /**
   * Lets a function use a copy of the memory, which is overwritten when the function returns or throws.
   *
   * @throws RefusalError `memory-closed`
   */
  use<T>(work: (bytes: Uint8Array<ArrayBuffer>) => T): T {
    const copy = this.read(0, this.bytes);
    try {
      return work(copy);
    } finally {
      copy.fill(0);
    }
  }

  /** Overwrites a range with zeros, all of it by default. @throws as `write` */
  zeroise(offset = 0, length = this.bytes - offset): void {
    libc().clear(this.#at(offset, length), length);
  }

  get isOpen(): boolean {
    return this.#address !== undefined;
  }

  /** Gives the memory back as it is: `zeroise` first. A second call does nothing. */
  unmap(): void {
    if (this.#address === undefined) return;
    libc().munmap(this.#address, this.#mappedBytes);
    this.#address = undefined;
  }

  #at(offset: number, length: number): bigint {
    if (!Number.isSafeInteger(offset) || offset < 0 || length < 0 || offset + length > this.bytes) {
      throw memoryUsageRefusals.error('memory-out-of-range', {
        field: 'memory.offset',
        expected: `a range within ${this.bytes} bytes`,
        found: `${length} bytes at ${offset}`,
      });
    }
    return this.address + BigInt(offset);
  }
}

/**
 * Zeros that the engine never moves. A small typed array made without its own buffer lives in the JavaScript heap:
 * the collector and native calls move it and leave the old copy as it was.
 */
export function offHeapBytes(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(length));
}

/** W5: what cannot be locked is accepted only where there is nothing to swap to. */
function lockOrProveNoSwap(address: bigint, bytes: number, locking: Locking): boolean {
  const flags = locking === 'on-fault' ? MLOCK_ONFAULT : MLOCK_NOW;
  if (libc().mlock2(address, bytes, flags) === 0) return true;
  const reason = lastErrorName();
  if (!machineSwaps()) return false;
  throw memoryRefusals.error('memory-not-lockable', {
    field: 'memory.mlock',
    expected: `${bytes} bytes locked, or no swap area`,
    found: `${reason}, and swap areas in /proc/swaps`,
  });
}

/** @param swaps the text of /proc/swaps: one line of titles, then one for each swap area */
export function machineSwaps(swaps = readFileSync('/proc/swaps', 'latin1')): boolean {
  return swaps.split('\n').filter((line) => line.trim() !== '').length > 1;
}
