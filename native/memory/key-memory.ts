/**
 * Memory for keys. Where the kernel has memfd_secret(2) the pages are taken out of the kernel's own map, so that
 * neither another process nor root's debugger reads them; elsewhere they are private, locked and left out of dumps.
 */

import { libc } from './libc.ts';
import { Mapping } from './mapping.ts';

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

  /** Moves a key in: the bytes that were given are overwritten. @throws as `allocate` */
  static take(key: Uint8Array): KeyMemory {
    try {
      const memory = KeyMemory.allocate(key.length);
      memory.write(0, key);
      return memory;
    } finally {
      key.fill(0);
    }
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
