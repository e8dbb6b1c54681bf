/**
 * Memory for plaintext weights: a file in memory that another process of ours can map by its descriptor and that never
 * has a name that others could open. It lies in a private mount of huge pages where this process may make one, else
 * in a memory file (memfd).
 */

import {
  F_SEAL_FUTURE_WRITE,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  lastErrorName,
  libc,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_NOEXEC_SEAL,
  SEEK_DATA,
  SEEK_HOLE,
} from './libc.ts';
import { machineSwaps, Mapping, type Locking, type MemoryProtection } from './mapping.ts';
import { PrivateMount } from './private-mount.ts';
import { memoryRefusals, memoryUsageRefusals } from './refusals.ts';

/** Less than this gains nothing from a mount of huge pages, and costs a descriptor less without. */
export const HUGE_PAGE_BYTES = 2 * 1024 * 1024;

/** Where the memory lies. */
export type MemoryBacking = 'private-mount' | 'memory-file';

/** A file in memory: one descriptor to write by, one to hand on. In a memory file both are the same. */
interface Backing {
  readonly kind: MemoryBacking;
  readonly writer: number;
  readonly reader: number;
  readonly locking: Locking;
}

/** What a native writer needs to put bytes in place (`native/chunks`). */
export interface WriteTarget {
  readonly fileDescriptor: number;
  /** The mapping whose pages have to be locked as they come to be; 0 where nothing has to. */
  readonly lockedAddress: bigint;
}

export class SecretMemory {
  /** For a child that inherits it. Closed on exec unless it is passed on purpose. */
  readonly fileDescriptor: number;
  readonly backing: MemoryBacking;
  readonly #writer: number;
  readonly #mapping: Mapping;
  readonly #locksPages: boolean;
  #sealed = false;

  private constructor({ kind, writer, reader, locking }: Backing, mapping: Mapping) {
    this.backing = kind;
    this.fileDescriptor = reader;
    this.#writer = writer;
    this.#mapping = mapping;
    this.#locksPages = locking !== 'unneeded' && mapping.protection.locked;
  }

  /**
   * Memory of zeros; pages are taken, and locked, when they are first written.
   *
   * @param bytes exact size; may be 0
   * @param name of a memory file, shown in /proc/<pid>/maps: no secret
   * @param backing to take one kind and no other; by default the faster one that can be had
   * @throws RefusalError `memory-unavailable`, `memory-not-lockable`, `memory-platform`
   */
  static allocate(bytes: number, name: string, backing?: MemoryBacking): SecretMemory {
    const prefersMount = backing === undefined ? bytes >= HUGE_PAGE_BYTES : backing === 'private-mount';
    const file = (prefersMount ? mountedFile() : undefined) ?? memoryFile(name);
    try {
      if (backing !== undefined && file.kind !== backing) refuse('fsopen', 'a private mount');
      if (libc().ftruncate(file.writer, bytes) !== 0) refuse('ftruncate', `${bytes} bytes`);
      const mapping = Mapping.create(bytes, { fileDescriptor: file.writer, locking: file.locking });
      return new SecretMemory(file, mapping);
    } catch (error) {
      closeBacking(file);
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

  /** Valid until `seal` or `close`. @throws RefusalError `memory-closed` */
  get writeTarget(): WriteTarget {
    this.#requireWritable();
    return {
      fileDescriptor: this.#writer,
      lockedAddress: this.#locksPages ? this.#mapping.address : 0n,
    };
  }

  /** @throws RefusalError `memory-out-of-range`, `memory-closed` */
  write(offset: number, source: Uint8Array): void {
    this.#mapping.write(offset, source);
  }

  /**
   * Puts bytes in place on another thread; the caller stays within the memory. Writing by the descriptor spares the
   * system from filling fresh pages with zeros first.
   *
   * @throws RefusalError `memory-unavailable`, `memory-closed`
   */
  async place(offset: number, source: bigint, length: number): Promise<void> {
    this.#requireWritable();
    const before = machineSwaps();
    if (before) await this.#lock(offset, length, MADV_POPULATE_WRITE);
    for (let done = 0; done < length;) {
      const from = source + BigInt(done);
      const count = await libc().pwriteAsync(this.#writer, from, length - done, offset + done);
      if (count <= 0) refuse('pwrite', `${length} bytes at ${offset}`);
      done += count;
    }
    if (!before) await this.#lock(offset, length, MADV_POPULATE_READ);
  }

  /** A page is locked when it comes to be in the mapping. */
  async #lock(offset: number, length: number, advice: number): Promise<void> {
    if (!this.#locksPages || length === 0) return;
    const answer = await libc().madviseAsync(this.#mapping.address + BigInt(offset), length, advice);
    if (answer !== 0) refuse('madvise', `${length} bytes locked at ${offset}`);
  }

  /** Copies bytes out into ordinary memory: for headers, not for weights. @throws as `write` */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    return this.#mapping.read(offset, length);
  }

  /**
   * Forbids for good that anybody else writes, maps for writing or resizes the memory. This object can still overwrite
   * it through its mapping (W7), which is why a memory file is sealed against future writers and not against all
   * (fcntl(2), F_SEAL_FUTURE_WRITE). In a private mount no descriptor is left that could be written to.
   *
   * @throws RefusalError `memory-platform`, `memory-closed`
   */
  seal(): void {
    this.#requireWritable();
    if (this.backing === 'private-mount') libc().close(this.#writer);
    else sealMemoryFile(this.#writer);
    this.#sealed = true;
  }

  #requireWritable(): void {
    if (this.#mapping.isOpen && !this.#sealed) return;
    throw memoryUsageRefusals.error('memory-closed', {
      field: 'memory',
      expected: 'memory that may be written',
      found: this.#sealed ? 'memory that was sealed' : 'memory that was closed',
    });
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
    if (this.fileDescriptor !== this.#writer && !this.#sealed) libc().close(this.#writer);
    libc().close(this.fileDescriptor);
  }
}

/** One for this process; null when it could not be made, which does not change. */
let privateMount: PrivateMount | null | undefined;

/** Undefined where there is no private mount, or where its pages could be swapped. */
function mountedFile(): Backing | undefined {
  privateMount ??= PrivateMount.create() ?? null;
  if (privateMount === null || (!privateMount.neverSwaps && machineSwaps())) return undefined;
  const file = privateMount.create();
  return file === undefined ? undefined : { kind: 'private-mount', ...file, locking: 'unneeded' };
}

/** Kernels before 6.3 do not know MFD_NOEXEC_SEAL and refuse it. */
function memoryFile(name: string): Backing {
  for (const flags of [MFD_CLOEXEC | MFD_NOEXEC_SEAL, MFD_CLOEXEC | MFD_ALLOW_SEALING]) {
    const descriptor = libc().memfdCreate(name, flags);
    if (descriptor < 0) continue;
    return { kind: 'memory-file', writer: descriptor, reader: descriptor, locking: 'on-fault' };
  }
  return refuse('memfd_create', 'a memory file');
}

function sealMemoryFile(descriptor: number): void {
  const seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (libc().addSeals(descriptor, seals) === 0) return;
  throw memoryRefusals.error('memory-platform', {
    field: 'memory.fcntl',
    expected: 'the memory file sealed',
    found: lastErrorName(),
  });
}

function closeBacking({ writer, reader }: Backing): void {
  libc().close(writer);
  if (reader !== writer) libc().close(reader);
}

function refuse(call: string, expected: string): never {
  throw memoryRefusals.error('memory-unavailable', {
    field: `memory.${call}`,
    expected,
    found: lastErrorName(),
  });
}
