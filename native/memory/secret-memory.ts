/**
 * Memory for plaintext weights: an anonymous memory file (memfd) that another process of ours can map by its
 * descriptor and that never has a name in any file system.
 */

import {
  F_SEAL_FUTURE_WRITE,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  lastErrorName,
  libc,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_NOEXEC_SEAL,
  MLOCK_ONFAULT,
  SEEK_DATA,
  SEEK_HOLE,
} from './libc.ts';
import { Mapping, type MemoryProtection } from './mapping.ts';
import { memoryRefusals } from './refusals.ts';

export class SecretMemory {
  /** For a child that inherits it. Closed on exec unless it is passed on purpose. */
  readonly fileDescriptor: number;
  readonly #mapping: Mapping;

  private constructor(fileDescriptor: number, mapping: Mapping) {
    this.fileDescriptor = fileDescriptor;
    this.#mapping = mapping;
  }

  /**
   * Memory of zeros; pages are taken, and locked, when they are first written.
   *
   * @param bytes exact size of the memory file; may be 0
   * @param name shown in /proc/<pid>/maps: no secret
   * @throws RefusalError `memory-unavailable`, `memory-not-lockable`, `memory-platform`
   */
  static allocate(bytes: number, name: string): SecretMemory {
    const fileDescriptor = createMemoryFile(name);
    try {
      if (libc().ftruncate(fileDescriptor, bytes) !== 0) refuse('ftruncate', `${bytes} bytes`);
      return new SecretMemory(fileDescriptor, Mapping.create(bytes, { fileDescriptor, lock: MLOCK_ONFAULT }));
    } catch (error) {
      libc().close(fileDescriptor);
      throw error;
    }
  }

  get bytes(): number {
    return this.#mapping.bytes;
  }

  get protection(): MemoryProtection {
    return this.#mapping.protection;
  }

  /** For native calls of any thread; valid until `close`. @throws RefusalError `memory-closed` */
  get address(): bigint {
    return this.#mapping.address;
  }

  /** A path by which processes of this user may open the memory as long as this process holds it. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.fileDescriptor}`;
  }

  /** @throws RefusalError `memory-out-of-range`, `memory-closed` */
  write(offset: number, source: Uint8Array): void {
    this.#mapping.write(offset, source);
  }

  /** Copies bytes out into ordinary memory: for headers, not for weights. @throws as `write` */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    return this.#mapping.read(offset, length);
  }

  /**
   * Forbids for good that anybody else writes, maps for writing or resizes the memory. This object can still
   * overwrite it, which is why the seal is on future writers and not on all (fcntl(2), F_SEAL_FUTURE_WRITE).
   *
   * @throws RefusalError `memory-platform`
   */
  seal(): void {
    const seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (libc().addSeals(this.fileDescriptor, seals) !== 0) {
      throw memoryRefusals.error('memory-platform', {
        field: 'memory.fcntl',
        expected: 'the memory file sealed',
        found: lastErrorName(),
      });
    }
  }

  /** Overwrites every page that was ever written. Pages that never were are left untaken. */
  zeroise(): void {
    let start = libc().seek(this.fileDescriptor, 0, SEEK_DATA);
    while (start >= 0 && start < this.bytes) {
      const end = Math.min(this.bytes, libc().seek(this.fileDescriptor, start, SEEK_HOLE));
      this.#mapping.zeroise(start, end - start);
      start = libc().seek(this.fileDescriptor, end, SEEK_DATA);
    }
  }

  /**
   * Overwrites the memory and gives it back. A process that still maps it sees zeros. No thread may be writing to
   * `address` any more. A second call does nothing.
   */
  close(): void {
    if (!this.#mapping.isOpen) return;
    this.zeroise();
    this.#mapping.unmap();
    libc().close(this.fileDescriptor);
  }
}

/** Kernels before 6.3 do not know MFD_NOEXEC_SEAL and refuse it. */
function createMemoryFile(name: string): number {
  for (const flags of [MFD_CLOEXEC | MFD_NOEXEC_SEAL, MFD_CLOEXEC | MFD_ALLOW_SEALING]) {
    const fileDescriptor = libc().memfdCreate(name, flags);
    if (fileDescriptor >= 0) return fileDescriptor;
  }
  return refuse('memfd_create', 'a memory file');
}

function refuse(call: string, expected: string): never {
  throw memoryRefusals.error('memory-unavailable', {
    field: `memory.${call}`,
    expected,
    found: lastErrorName(),
  });
}
