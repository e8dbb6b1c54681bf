/**
 * The table of hashes that QEMU puts into the guest when it boots a kernel directly with `kernel-hashes=on`
 * (QEMU, target/i386/sev.c). The firmware compares what it is then given with these hashes, so that the launch
 * measurement covers kernel, initrd and command line.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { toUtf8 } from '../../core/bytes.ts';
import { constantBytes, encode, fixedBytes, littleEndian, reserved, structure } from '../../core/layout.ts';
import type { Layout } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { guid } from './guid.ts';
import { PAGE_BYTES } from './page-info.ts';

const { u16 } = littleEndian;

export const kernelHashesRefusals = defineRefusals('usage', {
  'launch-command-line': {
    means: 'A kernel command line cannot be what a hypervisor hands to a kernel.',
    hint: 'Write it as it stands after -append: one line of at most 2047 bytes.',
  },
});

const HASH_BYTES = 32;
const HEAD_BYTES = 18;
const ENTRY_BYTES = HEAD_BYTES + HASH_BYTES;
const TABLE_BYTES = HEAD_BYTES + 3 * ENTRY_BYTES;
const PADDING_BYTES = 8;
/** With the padding to a multiple of 16. */
export const KERNEL_HASHES_BYTES = TABLE_BYTES + PADDING_BYTES;

const TABLE = guid('9438d606-4f22-4cc9-b479-a793d411fd21');
const COMMAND_LINE = guid('97d02dd8-bd20-4c94-aa78-e7714d36ab2a');
const INITRD = guid('44baf731-3a2f-4bd7-9af1-41e29169781d');
const KERNEL = guid('4de79437-abd2-427f-b835-d5b172d2045b');

/** One hash under the name of what it is of. */
interface HashEntry {
  readonly guid: Uint8Array;
  readonly size: number;
  readonly hash: Uint8Array;
}

const entry = (name: Uint8Array): Layout<HashEntry> =>
  structure({
    guid: constantBytes(name),
    size: u16({ oneOf: [ENTRY_BYTES] }),
    hash: fixedBytes(HASH_BYTES),
  });

const table = structure({
  guid: constantBytes(TABLE),
  size: u16({ oneOf: [TABLE_BYTES] }),
  commandLine: entry(COMMAND_LINE),
  initrd: entry(INITRD),
  kernel: entry(KERNEL),
  padding: reserved(PADDING_BYTES),
});

/** SHA-256 of what a direct boot hands over. Without an initrd it is that of nothing. */
export interface KernelHashes {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly commandLine: Uint8Array;
}

/** COMMAND_LINE_SIZE of x86 kernels, with the NUL. */
const MAX_COMMAND_LINE_BYTES = 2048;

/** SHA-256 of a command line as the kernel gets it, with a NUL at its end. @throws RefusalError `launch-command-line` */
export function hashCommandLine(text: string): Uint8Array {
  const bytes = toUtf8(`${text}\0`);
  if (/[\0\n]/.test(text) || bytes.length > MAX_COMMAND_LINE_BYTES) {
    throw kernelHashesRefusals.error('launch-command-line', {
      field: 'commandLine',
      expected: `one line of at most ${MAX_COMMAND_LINE_BYTES - 1} bytes`,
      found: `${bytes.length - 1} bytes${/[\0\n]/.test(text) ? ' with a NUL or line end' : ''}`,
    });
  }
  return sha256(bytes);
}

/** SHA-256 of the initrd of a boot without one. */
export const NO_INITRD: Uint8Array = sha256(new Uint8Array());

/** The page as it is measured, zero but for the table. @param offset of the table in the page */
export function kernelHashesPage(hashes: KernelHashes, offset: number): Uint8Array {
  const of = (name: Uint8Array, hash: Uint8Array): HashEntry => ({ guid: name, size: ENTRY_BYTES, hash });
  const page = new Uint8Array(PAGE_BYTES);
  const value = {
    guid: TABLE,
    size: TABLE_BYTES,
    commandLine: of(COMMAND_LINE, hashes.commandLine),
    initrd: of(INITRD, hashes.initrd),
    kernel: of(KERNEL, hashes.kernel),
  };
  page.set(encode(table, value, 'kernelHashes'), offset);
  return page;
}
