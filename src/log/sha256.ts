/**
 * SHA-256, synchronous, in Node and in browsers. Auditing a log is mostly hashing, and the platform's own hash is
 * several times faster than one in JavaScript; where there is none that is synchronous (browsers), the library's is
 * used. Both give the same bytes.
 */

import { sha256 as portableSha256 } from '@noble/hashes/sha2.js';

const HASH_BYTES = 32;

/** Bytes into which hashes are written, 32 at a place. */
export interface HashRow {
  readonly bytes: Uint8Array;
  /** Writes the hash of the input. The input may lie in the row itself. */
  put(input: Uint8Array, at: number): void;
}

type MakeRow = (length: number) => HashRow;

function platformRows(): MakeRow | undefined {
  const host = globalThis as {
    process?: { getBuiltinModule?: typeof process.getBuiltinModule };
    Buffer?: typeof Buffer;
  };
  const crypto = host.process?.getBuiltinModule?.('node:crypto');
  const { Buffer: HostBuffer } = host;
  if (crypto === undefined || HostBuffer === undefined) return undefined;
  return (length) => {
    const bytes = HostBuffer.alloc(length);
    // As text, one character a byte: a buffer of its own for each hash costs more than hashing a short entry.
    return {
      bytes,
      put: (input, at) => {
        bytes.write(crypto.hash('sha256', input, 'binary'), at, HASH_BYTES, 'binary');
      },
    };
  };
}

function portableRow(length: number): HashRow {
  const bytes = new Uint8Array(length);
  return {
    bytes,
    put: (input, at) => {
      bytes.set(portableSha256(input), at);
    },
  };
}

export const hashRow: MakeRow = platformRows() ?? portableRow;

const single = hashRow(HASH_BYTES);

/** @returns 32 bytes */
export function sha256(bytes: Uint8Array): Uint8Array {
  single.put(bytes, 0);
  return Uint8Array.from(single.bytes);
}
