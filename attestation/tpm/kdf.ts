/** The TPM's key derivation functions (Part 1, sections 11.4.10.2 and 11.4.10.3). */

import { hmac } from '@noble/hashes/hmac.js';

import { concatBytes, toUtf8 } from '../core/bytes.ts';
import { bigEndian, encode } from '../core/layout.ts';
import type { TpmHash } from './hash.ts';

function u32(value: number): Uint8Array {
  return encode(bigEndian.u32(), value, 'counter');
}

/** The label as both functions hash it: its text and a zero byte. */
function labelBytes(label: string): Uint8Array {
  return toUtf8(`${label}\0`);
}

/** Blocks numbered from 1, cut to `bits`; when these are no whole bytes, the spare high bits are zero. */
function expand(bits: number, blockBytes: number, block: (counter: Uint8Array) => Uint8Array): Uint8Array {
  const length = Math.ceil(bits / 8);
  const blocks = Array.from({ length: Math.ceil(length / blockBytes) }, (_, i) => block(u32(i + 1)));
  const key = concatBytes(...blocks).subarray(0, length);
  if (bits % 8 !== 0) key[0] = (key[0] ?? 0) & (2 ** (bits % 8) - 1);
  return key;
}

/** KDFa: a key from a key, by HMAC in counter mode (SP 800-108). `bits` is the length of the result. */
export function kdfA(
  hash: TpmHash,
  key: Uint8Array,
  label: string,
  contextU: Uint8Array,
  contextV: Uint8Array,
  bits: number,
): Uint8Array {
  const tail = concatBytes(labelBytes(label), contextU, contextV, u32(bits));
  return expand(bits, hash.bytes, (counter) => hmac(hash.digest, key, concatBytes(counter, tail)));
}

/** KDFe: a key from a shared secret `z` (SP 800-56A). The contexts are the x coordinates of the two parties. */
export function kdfE(
  hash: TpmHash,
  z: Uint8Array,
  label: string,
  partyU: Uint8Array,
  partyV: Uint8Array,
  bits: number,
): Uint8Array {
  const tail = concatBytes(z, labelBytes(label), partyU, partyV);
  return expand(bits, hash.bytes, (counter) => hash.digest(concatBytes(counter, tail)));
}
