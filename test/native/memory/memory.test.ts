import { createCipheriv, hkdfSync } from 'node:crypto';
import { openSync, closeSync, readFileSync, readSync, truncateSync, writeSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { Aes256Gcm } from '../../../native/memory/aes-gcm.ts';
import {
  availableBytes,
  requireAvailableMemory,
  requireNothingToSwapTo,
} from '../../../native/memory/available.ts';
import { deriveHkdfSha256 } from '../../../native/memory/hkdf.ts';
import { KeyMemory } from '../../../native/memory/key-memory.ts';
import { machineSwaps, Mapping } from '../../../native/memory/mapping.ts';
import { PrivateMount } from '../../../native/memory/private-mount.ts';
import { SecretMemory, type MemoryBacking } from '../../../native/memory/secret-memory.ts';
import { refusalCode } from '../../support/refusal-code.ts';

const MEBIBYTE = 1024 * 1024;

/** The paragraph of /proc/self/smaps about the mapping at an address. */
function smapsOf(address: bigint): string {
  const start = `${address.toString(16).padStart(8, '0')}-`;
  const paragraphs = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return paragraphs.find((paragraph) => paragraph.startsWith(start)) ?? '';
}

const probe = PrivateMount.create();
probe?.close();
const reason = probe === undefined ? ' (needs CAP_SYS_ADMIN, which this process lacks)' : '';

/** How the kernel names the memory, and what a page of it is. */
const BACKINGS = [
  { backing: 'memory-file', name: /\/memfd:weights \(deleted\)/, pageKibibytes: 4, possible: true },
  {
    backing: 'private-mount',
    name: /\/memory-\d+ \(deleted\)/,
    pageKibibytes: 2048,
    possible: probe !== undefined,
  },
] as const satisfies readonly {
  backing: MemoryBacking;
  name: RegExp;
  pageKibibytes: number;
  possible: boolean;
}[];

describe.each(BACKINGS.filter(({ possible }) => possible))('memory for weights in a $backing', (kind) => {
  const { backing, name, pageKibibytes } = kind;

  it('SW-23: is kept from swap and dumps, and has no name in a file system', () => {
    const memory = SecretMemory.allocate(6 * MEBIBYTE, 'weights', backing);
    memory.write(0, new Uint8Array(6 * MEBIBYTE).fill(7));
    const description = smapsOf(memory.address);
    expect(memory.backing).toBe(backing);
    expect(description).toMatch(name);
    expect(description).toMatch(/^VmFlags:.* dd( |$)/m);
    expect(memory.protection.dontDump).toBe(true);
    if (backing === 'memory-file' && memory.protection.locked) {
      expect(description).toMatch(/^VmFlags:.* lo( |$)/m);
      expect(description).toMatch(/^Locked:\s+6144 kB$/m);
    }
    if (!memory.protection.locked) expect(machineSwaps()).toBe(false);
    memory.close();
    expect(readFileSync('/proc/self/maps', 'latin1')).not.toMatch(name);
  });

  it('SW-23: once sealed nobody else can write or resize it, and its owner can still overwrite it', () => {
    const memory = SecretMemory.allocate(MEBIBYTE, 'weights', backing);
    memory.write(0, Buffer.from('plaintext'));
    memory.seal();
    const refusal = backing === 'memory-file' ? 'EPERM' : 'EROFS';
    expect(() => {
      writeSync(openSync(memory.path, 'r+'), 'x');
    }).toThrow(refusal);
    expect(() => {
      truncateSync(memory.path, 0);
    }).toThrow(refusal);
    expect(refusalCode(() => memory.writeTarget)).toBe('memory-closed');
    const other = openSync(memory.path, 'r');
    const seen = Buffer.alloc(9);
    readSync(other, seen, 0, 9, 0);
    expect(seen.toString()).toBe('plaintext');
    memory.close();
    readSync(other, seen, 0, 9, 0);
    expect(seen).toEqual(Buffer.alloc(9));
    closeSync(other);
  });

  it('W7: zeroising overwrites what was written and takes no page that was not', () => {
    const memory = SecretMemory.allocate(64 * MEBIBYTE, 'weights', backing);
    memory.write(5 * MEBIBYTE - 1, Buffer.from('across pages'));
    memory.write(64 * MEBIBYTE - 1, Buffer.from('z'));
    memory.zeroise();
    expect(readFileSync(memory.path).every((byte) => byte === 0)).toBe(true);
    const resident = Number(/^Rss:\s+(\d+) kB$/m.exec(smapsOf(memory.address))?.[1]);
    expect(resident).toBeLessThan(Math.max(1024, 4 * pageKibibytes));
    memory.close();
    memory.close();
    expect(refusalCode(() => memory.address)).toBe('memory-closed');
    expect(refusalCode(() => memory.read(0, 1))).toBe('memory-closed');
  });

  it('SW-23: bytes that are placed by the descriptor are there and, in a memory file, locked', async () => {
    const memory = SecretMemory.allocate(4 * MEBIBYTE, 'weights', backing);
    const source = Mapping.create(MEBIBYTE);
    source.write(0, new Uint8Array(MEBIBYTE).fill(5));
    await memory.place(3 * MEBIBYTE, source.address, MEBIBYTE);
    expect(memory.read(3 * MEBIBYTE, MEBIBYTE).every((byte) => byte === 5)).toBe(true);
    expect(memory.read(0, MEBIBYTE).every((byte) => byte === 0)).toBe(true);
    const locksPages = backing === 'memory-file' && memory.protection.locked;
    expect(memory.writeTarget.lockedAddress).toBe(locksPages ? memory.address : 0n);
    memory.close();
    source.unmap();
  });
});

describe('memory for weights', () => {
  it.runIf(probe === undefined)(`lies in a memory file where no mount can be made${reason}`, () => {
    expect(refusalCode(() => SecretMemory.allocate(1, 'weights', 'private-mount'))).toBe(
      'memory-unavailable',
    );
  });

  it('holds no byte when none is asked for, and refuses what lies outside', () => {
    const memory = SecretMemory.allocate(0, 'weights');
    expect(readFileSync(memory.path).length).toBe(0);
    for (const [offset, length] of [
      [0, 1],
      [-1, 1],
      [0.5, 0],
      [Number.NaN, 0],
      [1, 0],
    ] as const) {
      expect(refusalCode(() => memory.read(offset, length))).toBe('memory-out-of-range');
    }
    expect(
      refusalCode(() => {
        memory.write(0, new Uint8Array(1));
      }),
    ).toBe('memory-out-of-range');
    memory.close();
  });

  it('W5: a machine without swap is told from one that swaps', () => {
    const title = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n';
    expect(machineSwaps(title)).toBe(false);
    expect(machineSwaps(`${title}/dev/sda2  partition\t1048572\t\t0\t\t-2\n`)).toBe(true);
  });

  it('more memory than the machine has is refused before any is taken', () => {
    expect(availableBytes('MemTotal: 10 kB\nMemAvailable:    2 kB\n')).toBe(2048);
    expect(
      refusalCode(() => {
        requireAvailableMemory(2 ** 50);
      }),
    ).toBe('memory-unavailable');
    expect(refusalCode(() => Mapping.create(2 ** 52))).toBe('memory-unavailable');
  });
});

describe('memory for keys', () => {
  it('takes a key away from where it was, and forgets it on closing', () => {
    const key = new Uint8Array(32).fill(9);
    const memory = KeyMemory.take(key);
    expect(key.every((byte) => byte === 0)).toBe(true);
    let copy = new Uint8Array();
    memory.use((bytes) => {
      expect(bytes.every((byte) => byte === 9)).toBe(true);
      copy = bytes;
    });
    expect(copy.every((byte) => byte === 0)).toBe(true);
    memory.close();
    memory.close();
    expect(refusalCode(() => memory.address)).toBe('memory-closed');
  });

  it('random keys differ', () => {
    const [one, two] = [KeyMemory.random(32), KeyMemory.random(32)];
    one.use((left) => {
      two.use((right) => {
        expect(left).not.toEqual(right);
        expect(left).not.toEqual(new Uint8Array(32));
      });
    });
    one.close();
    two.close();
  });

  it('is hidden from every reader of this process where the kernel can do that', () => {
    const memory = KeyMemory.take(new Uint8Array(32).fill(9));
    const reader = openSync('/proc/self/mem', 'r');
    const read = (): number => readSync(reader, Buffer.alloc(32), 0, 32, memory.address);
    if (memory.isolated) expect(read).toThrow();
    else expect(smapsOf(memory.address)).toMatch(/^VmFlags:.* lo( |$)/m);
    closeSync(reader);
    memory.close();
  });
});

describe('HKDF-SHA-256 at addresses', () => {
  it('SW-11: agrees with node:crypto', () => {
    const key = KeyMemory.take(new Uint8Array(32).fill(3));
    for (const [salt, info] of [
      [new Uint8Array(32).fill(1), new Uint8Array(80).fill(2)],
      [new Uint8Array(1), new Uint8Array(1)],
    ] as const) {
      const derived = new Uint8Array(32);
      deriveHkdfSha256({ key: key.address, keyBytes: 32, salt, info }, derived, 32);
      const expected = hkdfSync('sha256', new Uint8Array(32).fill(3), salt, info, 32);
      expect(derived).toEqual(new Uint8Array(expected));
    }
    key.close();
  });
});

describe('AES-256-GCM at addresses', () => {
  it('SW-7: agrees with node:crypto, in pieces, in place, for an empty message too', () => {
    const key = KeyMemory.take(new Uint8Array(32).fill(3));
    const nonce = new Uint8Array(12).fill(4);
    const gcm = new Aes256Gcm();
    for (const length of [0, 1, 15, 16, 17, 100_000]) {
      const message = Buffer.alloc(length, 'message');
      const cipher = createCipheriv('aes-256-gcm', new Uint8Array(32).fill(3), nonce);
      const expected = Buffer.concat([cipher.update(message), cipher.final()]);
      gcm.start('seal', key.address, nonce);
      for (let at = 0; at < length; at += 1000) {
        const piece = message.subarray(at, at + 1000);
        gcm.update(piece, piece.length);
      }
      const tag = gcm.finishSealing();
      expect(Buffer.compare(message, expected)).toBe(0);
      expect(Buffer.compare(tag, cipher.getAuthTag())).toBe(0);
      gcm.start('open', key.address, nonce);
      gcm.update(message, length);
      expect(gcm.finishOpening(tag)).toBe(true);
      expect(message).toEqual(Buffer.alloc(length, 'message'));
      tag[0] = (tag[0] ?? 0) ^ 1;
      gcm.start('open', key.address, nonce);
      gcm.update(message, length);
      expect(gcm.finishOpening(tag)).toBe(false);
    }
    gcm.close();
    key.close();
  });
});

describe('memory of an engine', () => {
  const titles = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n';

  it('GD-39, W5: is refused where there is something to swap to', () => {
    const area = '/dev/vda5                               partition\t1048572\t\t0\t\t-2\n';
    expect(
      refusalCode(() => {
        requireNothingToSwapTo(titles + area);
      }),
    ).toBe('memory-swappable');
    expect(
      refusalCode(() => {
        requireNothingToSwapTo(titles);
      }),
    ).toBe('accepted');
  });
});
