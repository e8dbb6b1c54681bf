/**
 * SHA-256, synchronous, in Node and in browsers. Auditing a log is mostly hashing, and the platform's own hash is
 * several times faster than one in JavaScript; where there is none that is synchronous (browsers), the library's is
 * used. Both give the same bytes.
 */

import { sha256 as portableSha256 } from '@noble/hashes/sha2.js';

type Hash = (bytes: Uint8Array) => Uint8Array;

function platformSha256(): Hash | undefined {
  const host = globalThis as { process?: { getBuiltinModule?: typeof process.getBuiltinModule } };
  const crypto = host.process?.getBuiltinModule?.('node:crypto');
  if (crypto === undefined) return undefined;
  return (bytes) => {
    const digest = crypto.hash('sha256', bytes, 'buffer');
    return new Uint8Array(digest.buffer, digest.byteOffset, digest.length);
  };
}

/** @returns 32 bytes */
export const sha256: Hash = platformSha256() ?? portableSha256;
