/**
 * A tmpfs that is mounted nowhere: it has no path, other processes do not see it, and it goes when the last of its
 * files does. Its pages are huge, which a memory file only has where the whole system was set so (measured in
 * docs/decisions/0033-huge-pages-without-a-mount-point.md), and where the kernel can it is kept from swap as a whole.
 *
 * Making one needs CAP_SYS_ADMIN. The calls are those of fsopen(2), fsconfig(2), fsmount(2), open_tree(2) and
 * mount_setattr(2), which glibc of Debian 12 does not name.
 */

import { libc, nativeFunction } from './libc.ts';

/** The same numbers on x86-64 and AArch64: calls that are newer than the common table have one number everywhere. */
const SYS_OPEN_TREE = 428;
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
const SYS_MOUNT_SETATTR = 442;

/** <linux/mount.h>, <fcntl.h> */
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOUNT_ATTR_RDONLY = 0x1;
const MOUNT_ATTR_NOSUID = 0x2;
const MOUNT_ATTR_NODEV = 0x4;
const MOUNT_ATTR_NOEXEC = 0x8;
const OPEN_TREE_CLONE = 1;
const AT_EMPTY_PATH = 0x1000;
const MOUNT_ATTR_BYTES = 32;
const O_RDONLY = 0;
const O_RDWR = 0o2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_CLOEXEC = 0o2000000;

/**
 * `within_size`: no huge page beyond the end of a file, so that ten thousand small files cost what they hold. No limit
 * of the mount's own: who allocates asks for the memory of the machine first.
 */
const OPTIONS: readonly (readonly [string, string])[] = [
  ['huge', 'within_size'],
  ['size', '0'],
  ['nr_inodes', '0'],
  ['mode', '0700'],
];

type SystemCall = (...values: readonly (number | string | null | Uint8Array)[]) => number;

function systemCall(...parameters: readonly string[]): SystemCall {
  return nativeFunction(`long syscall(long, ${parameters.join(', ')})`) as SystemCall;
}

/** Two descriptors of one file that has no name. */
export interface PrivateFile {
  readonly writer: number;
  /** Opened through a read-only view of the mount: nobody can open it again for writing, root included. */
  readonly reader: number;
}

export class PrivateMount {
  /** Whether the kernel keeps all of it from swap (Linux 6.4). */
  readonly neverSwaps: boolean;
  readonly #writable: number;
  readonly #readOnly: number;
  #fileCount = 0;

  private constructor(writable: number, readOnly: number, neverSwaps: boolean) {
    this.#writable = writable;
    this.#readOnly = readOnly;
    this.neverSwaps = neverSwaps;
  }

  /** Undefined where this process may not make one or the kernel does not know how. */
  static create(): PrivateMount | undefined {
    const context = systemCall('const char *', 'unsigned int')(SYS_FSOPEN, 'tmpfs', FSOPEN_CLOEXEC);
    if (context < 0) return undefined;
    try {
      const configure = systemCall('int', 'unsigned int', 'const char *', 'const char *', 'int');
      const set = (command: number, key: string | null, value: string | null): boolean =>
        configure(SYS_FSCONFIG, context, command, key, value, 0) === 0;
      if (!OPTIONS.every(([key, value]) => set(FSCONFIG_SET_STRING, key, value))) return undefined;
      const neverSwaps = set(FSCONFIG_SET_FLAG, 'noswap', null);
      if (!set(FSCONFIG_CMD_CREATE, null, null)) return undefined;
      return PrivateMount.#mount(context, neverSwaps);
    } finally {
      libc().close(context);
    }
  }

  static #mount(context: number, neverSwaps: boolean): PrivateMount | undefined {
    const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    const mount = systemCall('int', 'unsigned int', 'unsigned int');
    const writable = mount(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, attributes);
    if (writable < 0) return undefined;
    const readOnly = readOnlyView(writable);
    if (readOnly !== undefined) return new PrivateMount(writable, readOnly, neverSwaps);
    libc().close(writable);
    return undefined;
  }

  /** A new empty file. Undefined when the system does not give another descriptor. */
  create(): PrivateFile | undefined {
    this.#fileCount += 1;
    const name = `memory-${this.#fileCount}`;
    const writer = libc().openat(this.#writable, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600);
    if (writer < 0) return undefined;
    const reader = libc().openat(this.#readOnly, name, O_RDONLY | O_CLOEXEC, 0);
    libc().unlinkat(this.#writable, name);
    if (reader >= 0) return { writer, reader };
    libc().close(writer);
    return undefined;
  }

  /** Files that are open stay. */
  close(): void {
    libc().close(this.#readOnly);
    libc().close(this.#writable);
  }
}

function readOnlyView(mount: number): number | undefined {
  const openTree = systemCall('int', 'const char *', 'unsigned int');
  const view = openTree(SYS_OPEN_TREE, mount, '', OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH);
  if (view < 0) return undefined;
  // struct mount_attr: attr_set, attr_clr, propagation, userns_fd, 8 bytes each.
  const attributes = new BigUint64Array(MOUNT_ATTR_BYTES / 8);
  attributes[0] = BigInt(MOUNT_ATTR_RDONLY);
  const setAttributes = systemCall('int', 'const char *', 'unsigned int', 'void *', 'size_t');
  const bytes = new Uint8Array(attributes.buffer);
  if (setAttributes(SYS_MOUNT_SETATTR, view, '', AT_EMPTY_PATH, bytes, MOUNT_ATTR_BYTES) === 0) return view;
  libc().close(view);
  return undefined;
}
