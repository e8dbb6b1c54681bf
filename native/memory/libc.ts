/**
 * The calls of the C library that hold secrets in memory, by FFI. Addresses are bigints: nothing here makes a
 * JavaScript view of foreign memory, because a view would outlive the mapping under it.
 */

import koffi from 'koffi';

import { memoryRefusals } from './refusals.ts';

/** What a native call takes as memory: an address, or a JavaScript buffer that lives as long as the call. */
export type Pointer = bigint | Uint8Array;

/** Values of <sys/mman.h>, <linux/memfd.h>, <fcntl.h> that are the same on x86-64 and AArch64. */
const PROT_READ_WRITE = 0x3;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE_ANONYMOUS = 0x22;
export const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
export const MADV_HUGEPAGE = 14;
export const MADV_DONTDUMP = 16;
export const MADV_POPULATE_READ = 22;
export const MADV_POPULATE_WRITE = 23;
export const MLOCK_NOW = 0;
export const MLOCK_ONFAULT = 1;
export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;
/** Linux 6.3: the memory can never be made executable. Includes MFD_ALLOW_SEALING. */
export const MFD_NOEXEC_SEAL = 0x8;
const F_ADD_SEALS = 1033;
export const F_SEAL_SEAL = 0x1;
export const F_SEAL_SHRINK = 0x2;
export const F_SEAL_GROW = 0x4;
/** Linux 5.1: no new writer; a mapping that is there stays writable. */
export const F_SEAL_FUTURE_WRITE = 0x10;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

const SYS_MEMFD_SECRET = 447;
/** memfd_secret takes the flag of open(2), not MFD_CLOEXEC. */
const O_CLOEXEC = 0x80000;

export interface Libc {
  mmap(bytes: number, flags: number, fileDescriptor: number): bigint;
  munmap(address: bigint, bytes: number): number;
  madvise(address: bigint, bytes: number, advice: number): number;
  mlock2(address: bigint, bytes: number, flags: number): number;
  memfdCreate(name: string, flags: number): number;
  memfdSecret(): number;
  ftruncate(fileDescriptor: number, bytes: number): number;
  addSeals(fileDescriptor: number, seals: number): number;
  /** The offset found, or -1. */
  seek(fileDescriptor: number, offset: number, whence: number): number;
  close(fileDescriptor: number): number;
  /** Relative to a folder. */
  openat(folder: number, path: string, flags: number, mode: number): number;
  unlinkat(folder: number, path: string): number;
  /** On another thread. */
  madviseAsync(address: bigint, bytes: number, advice: number): Promise<number>;
  /** On another thread. Bytes written, or -1; the number of the error is lost. */
  pwriteAsync(fileDescriptor: number, source: bigint, bytes: number, offset: number): Promise<number>;
  /** On another thread. Bytes read, 0 at the end of the file, or -1; the number of the error is lost. */
  preadAsync(fileDescriptor: number, target: bigint, bytes: number, offset: number): Promise<number>;
  copy(target: Pointer, source: Pointer, bytes: number): void;
  /** Overwrites with zeros in a way that no compiler leaves out. */
  clear(target: Pointer, bytes: number): void;
}

type Native = (...values: readonly (Pointer | number | string | null)[]) => unknown;
/** The other form that koffi gives every function. */
interface CallbackNative {
  async(...values: readonly unknown[]): void;
}

type AsyncNative = (...values: readonly (Pointer | number)[]) => Promise<unknown>;

/**
 * Finds a function in this process: the C library, and what the node binary exports.
 *
 * @throws RefusalError `memory-platform`
 */
export function nativeFunction(declaration: string): Native {
  try {
    return koffi.load(null).func(declaration) as Native;
  } catch (cause) {
    throw memoryRefusals.error(
      'memory-platform',
      { field: declaration, expected: 'a function of this system', found: 'none' },
      { cause },
    );
  }
}

/**
 * As `nativeFunction`, but each call runs on a thread of the platform's pool (UV_THREADPOOL_SIZE, 4 by default).
 * Memory that is passed must stay until the promise is settled.
 *
 * @throws RefusalError `memory-platform`
 */
export function asyncNativeFunction(declaration: string): AsyncNative {
  const call = nativeFunction(declaration) as unknown as CallbackNative;
  return (...values) =>
    new Promise((resolve, reject) => {
      call.async(...values, (error: Error | null, result: unknown) => {
        if (error === null) resolve(result);
        else reject(error);
      });
    });
}

/** The number of the last error, by name, for refusals. */
export function lastErrorName(): string {
  const number = koffi.errno();
  const known = Object.entries(koffi.os.errno).find(([, value]) => value === number);
  return known?.[0] ?? `errno ${number}`;
}

let loaded: Libc | undefined;

/** @throws RefusalError `memory-platform` */
export function libc(): Libc {
  loaded ??= loadLibc();
  return loaded;
}

function loadLibc(): Libc {
  const mmap = nativeFunction('void *mmap(void *, size_t, int, int, int, int64_t)');
  const munmap = nativeFunction('int munmap(void *, size_t)');
  const madvise = nativeFunction('int madvise(void *, size_t, int)');
  const mlock2 = nativeFunction('int mlock2(const void *, size_t, unsigned int)');
  const memfdCreate = nativeFunction('int memfd_create(const char *, unsigned int)');
  const syscall = nativeFunction('long syscall(long, unsigned long)');
  const ftruncate = nativeFunction('int ftruncate(int, int64_t)');
  const fcntl = nativeFunction('int fcntl(int, int, int)');
  const lseek = nativeFunction('int64_t lseek(int, int64_t, int)');
  const close = nativeFunction('int close(int)');
  const openat = nativeFunction('int openat(int, const char *, int, unsigned int)');
  const unlinkat = nativeFunction('int unlinkat(int, const char *, int)');
  const madviseAsync = asyncNativeFunction('int madvise(void *, size_t, int)');
  const pwriteAsync = asyncNativeFunction('int64_t pwrite(int, const void *, size_t, int64_t)');
  const preadAsync = asyncNativeFunction('int64_t pread(int, void *, size_t, int64_t)');
  const memcpy = nativeFunction('void *memcpy(void *, const void *, size_t)');
  const explicitBzero = nativeFunction('void explicit_bzero(void *, size_t)');
  return {
    mmap: (bytes, flags, fileDescriptor) =>
      mmap(null, bytes, PROT_READ_WRITE, flags, fileDescriptor, 0) as bigint,
    munmap: (address, bytes) => munmap(address, bytes) as number,
    madvise: (address, bytes, advice) => madvise(address, bytes, advice) as number,
    mlock2: (address, bytes, flags) => mlock2(address, bytes, flags) as number,
    memfdCreate: (name, flags) => memfdCreate(name, flags) as number,
    memfdSecret: () => syscall(SYS_MEMFD_SECRET, O_CLOEXEC) as number,
    ftruncate: (fileDescriptor, bytes) => ftruncate(fileDescriptor, bytes) as number,
    addSeals: (fileDescriptor, seals) => fcntl(fileDescriptor, F_ADD_SEALS, seals) as number,
    seek: (fileDescriptor, offset, whence) => lseek(fileDescriptor, offset, whence) as number,
    close: (fileDescriptor) => close(fileDescriptor) as number,
    openat: (folder, path, flags, mode) => openat(folder, path, flags, mode) as number,
    unlinkat: (folder, path) => unlinkat(folder, path, 0) as number,
    madviseAsync: async (address, bytes, advice) => (await madviseAsync(address, bytes, advice)) as number,
    pwriteAsync: async (fileDescriptor, source, bytes, offset) =>
      (await pwriteAsync(fileDescriptor, source, bytes, offset)) as number,
    preadAsync: async (fileDescriptor, target, bytes, offset) =>
      (await preadAsync(fileDescriptor, target, bytes, offset)) as number,
    copy: (target, source, bytes) => void memcpy(target, source, bytes),
    clear: (target, bytes) => void explicitBzero(target, bytes),
  };
}
