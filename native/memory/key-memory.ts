/**
 * Memory for keys. Where the kernel has memfd_secret(2) the pages are taken out of the kernel's own map, so that
 * neither another process nor root's debugger reads them; elsewhere they are private, locked and left out of dumps.
 */

import { libc, nativeFunction } from './libc.ts';
import { Mapping, offHeapBytes } from './mapping.ts';
import { memoryRefusals } from './refusals.ts';

export class KeyMemory {
  readonly #mapping: Mapping;
  /** Whether the pages are invisible to the rest of the kernel. */
  readonly isolated: boolean;

  private constructor(mapping: Mapping, isolated: boolean) {
    this.#mapping = mapping;
    this.isolated = isolated;
  }

  /** Memory of zeros. @throws RefusalError `memory-unavailable`, `memory-not-lockable`, `memory-platform` */
  static allocate(bytes: number): KeyMemory {
    const isolated = mapIsolated(bytes);
    return new KeyMemory(isolated ?? Mapping.create(bytes), isolated !== undefined);
  }

  /**
   * Moves a key in: the bytes that were given are overwritten. Whoever makes such bytes gives them a buffer of their
   * own (`offHeapBytes`), or the collector may have left copies before they came here.
   *
   * @throws as `allocate`
   */
  static take(key: Uint8Array): KeyMemory {
    const copy = offHeapBytes(key.length);
    copy.set(key);
    key.fill(0);
    try {
      const memory = KeyMemory.allocate(copy.length);
      memory.write(0, copy);
      return memory;
    } finally {
      copy.fill(0);
    }
  }

  /** A new random key that was never anywhere else. @throws as `allocate` */
  static random(bytes: number): KeyMemory {
    const fillRandom = nativeFunction('int RAND_priv_bytes(void *, int)');
    const memory = KeyMemory.allocate(bytes);
    if (fillRandom(memory.address, bytes) === 1) return memory;
    memory.close();
    throw memoryRefusals.error('memory-platform', {
      field: 'memory.random',
      expected: 'OpenSSL to have random bytes',
      found: 'a failure',
    });
  }

  get bytes(): number {
    return this.#mapping.bytes;
  }

  /** For native calls of any thread; valid until `close`. @throws RefusalError `memory-closed` */
  get address(): bigint {
    return this.#mapping.address;
  }

  /** @throws RefusalError `memory-out-of-range`, `memory-closed` */
  write(offset: number, source: Uint8Array): void {
    this.#mapping.write(offset, source);
  }

  /** Lets a function use a copy of the key that is overwritten afterwards. @throws RefusalError `memory-closed` */
  use<T>(work: (key: Uint8Array<ArrayBuffer>) => T): T {
    return this.#mapping.use(work);
  }

  /** Overwrites the key and gives the memory back. A second call does nothing. */
  close(): void {
    if (!this.#mapping.isOpen) return;
    this.#mapping.zeroise();
    this.#mapping.unmap();
  }
}

/** Undefined where the kernel has no secret memory, or none left within this process's limit on locked memory. */
function mapIsolated(bytes: number): Mapping | undefined {
  const fileDescriptor = libc().memfdSecret();
  if (fileDescriptor < 0) return undefined;
  try {
    if (libc().ftruncate(fileDescriptor, Math.max(1, bytes)) !== 0) return undefined;
    return Mapping.create(bytes, { fileDescriptor });
  } catch {
    return undefined;
  } finally {
    libc().close(fileDescriptor);
  }
}
