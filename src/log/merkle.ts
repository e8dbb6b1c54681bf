/**
 * The hash tree of RFC 6962 and its proofs as RFC 9162 verifies them (TL-1 to TL-4). Only verification and hashing;
 * `tree.ts` builds trees and proofs. Sizes and indexes are bigint: they are 64 bits wide on the wire.
 */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { hashRow, sha256 } from './sha256.ts';

export const merkleShapeRefusals = defineRefusals('malformed', {
  'log-proof-shape': {
    means: 'A Merkle proof has numbers or hashes that no tree can have.',
    hint: 'The proof was cut or altered, or belongs to another size; fetch it again.',
  },
});

export const merkleRefusals = defineRefusals('inauthentic', {
  'log-inclusion-invalid': {
    means: 'A proof does not show that the entry is in the tree.',
    hint: 'The entry, its index or the checkpoint was altered. Do not use the entry; keep both for the auditor.',
  },
  'log-consistency-invalid': {
    means: 'A proof does not show that the larger tree extends the smaller one.',
    hint: 'The log may have rewritten its history. Keep both checkpoints and publish them.',
  },
});

export const HASH_BYTES = 32;
/** A tree of 2^64 leaves has no longer path. */
const MAX_PROOF_HASHES = 63;
const SIZE_LIMIT = 1n << 64n;

const LEAF_PREFIX = 0;
const NODE_PREFIX = 1;

/**
 * The input of a hash is put together here, because auditing is nothing but hashing and a new buffer for each hash
 * costs as much as the hash. Hashing is synchronous, so nobody else sees it. Larger than any entry.
 */
const scratch = new Uint8Array(1 << 17);

/** The root of the tree without leaves. */
export const EMPTY_ROOT: Uint8Array = sha256(new Uint8Array(0));

/** @param entry the bytes that the reader holds, never a hash that it was told (TL-4) */
export function leafHash(entry: Uint8Array): Uint8Array {
  return prefixedHash(LEAF_PREFIX, entry);
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return prefixedHash(NODE_PREFIX, left, right);
}

/** How the hashes of one level lie in a row: as the inputs of the level above, each pair behind its prefix. */
const PAIR_BYTES = 1 + 2 * HASH_BYTES;
const placeOf = (node: number): number => (node >> 1) * PAIR_BYTES + 1 + (node & 1) * HASH_BYTES;

/**
 * The root of a perfect tree, without a buffer for any hash inside of it: what an auditor makes of most of a log.
 *
 * @param entries a power of two of them
 */
export function perfectRoot(entries: readonly Uint8Array[]): Uint8Array {
  const row = hashRow(Math.ceil(entries.length / 2) * PAIR_BYTES + HASH_BYTES);
  for (let pair = 0; pair < row.bytes.length; pair += PAIR_BYTES) row.bytes[pair] = NODE_PREFIX;
  for (const [i, entry] of entries.entries()) {
    const input = inputOf(1 + entry.length);
    input[0] = LEAF_PREFIX;
    input.set(entry, 1);
    row.put(input, placeOf(i));
  }
  // Each level takes the place of the one below: a hash is never written over a pair that is still to be read.
  for (let width = entries.length >> 1; width >= 1; width >>= 1) {
    for (let i = 0; i < width; i += 1) {
      row.put(row.bytes.subarray(i * PAIR_BYTES, (i + 1) * PAIR_BYTES), placeOf(i));
    }
  }
  return Uint8Array.from(row.bytes.subarray(1, 1 + HASH_BYTES));
}

function inputOf(length: number): Uint8Array {
  return length <= scratch.length ? scratch.subarray(0, length) : new Uint8Array(length);
}

function prefixedHash(prefix: number, first: Uint8Array, second?: Uint8Array): Uint8Array {
  const length = 1 + first.length + (second?.length ?? 0);
  const input = inputOf(length);
  input[0] = prefix;
  input.set(first, 1);
  if (second !== undefined) input.set(second, 1 + first.length);
  return sha256(input);
}

/** What an inclusion proof claims; all of it may come from an attacker. */
export interface InclusionClaim {
  readonly leafHash: Uint8Array;
  readonly index: bigint;
  readonly size: bigint;
  /** Sibling hashes, that of the leaf first. */
  readonly proof: readonly Uint8Array[];
  readonly root: Uint8Array;
}

/**
 * RFC 9162 section 2.1.3.2. Root and size must come from one verified checkpoint.
 *
 * @throws RefusalError `log-proof-shape`, `log-inclusion-invalid`
 */
export function verifyInclusion(claim: InclusionClaim): void {
  verifySubtreeInclusion({ ...claim, start: 0n, end: claim.size });
}

export interface SubtreeInclusionClaim extends Omit<InclusionClaim, 'size'> {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * Inclusion in the subtree over the entries from `start` up to `end`, as mirrors prove it
 * (draft-ietf-plants-merkle-tree-certs).
 *
 * @throws RefusalError `log-proof-shape`, `log-inclusion-invalid`
 */
export function verifySubtreeInclusion(claim: SubtreeInclusionClaim): void {
  checkHashes(claim.proof, [claim.leafHash, claim.root]);
  checkSubtree(claim.start, claim.end);
  if (claim.index < claim.start || claim.index >= claim.end) {
    refuseShape('index', `from ${claim.start} to below ${claim.end}`, claim.index.toString());
  }
  let position = claim.index - claim.start;
  let last = claim.end - claim.start - 1n;
  let hash = claim.leafHash;
  for (const sibling of claim.proof) {
    if (last === 0n) refuseInclusion('a shorter proof', `${claim.proof.length} hashes`);
    if (isOdd(position) || position === last) {
      hash = nodeHash(sibling, hash);
      while (!isOdd(position) && position !== 0n) {
        position >>= 1n;
        last >>= 1n;
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    position >>= 1n;
    last >>= 1n;
  }
  if (last !== 0n) refuseInclusion('a longer proof', `${claim.proof.length} hashes`);
  if (!equalBytes(hash, claim.root)) refuseInclusion(`root ${toHex(claim.root)}`, toHex(hash));
}

/** What a consistency proof claims; both roots must come from verified checkpoints. */
export interface ConsistencyClaim {
  readonly firstSize: bigint;
  readonly firstRoot: Uint8Array;
  readonly secondSize: bigint;
  readonly secondRoot: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/**
 * RFC 9162 section 2.1.4.2.
 *
 * @throws RefusalError `log-proof-shape`, `log-consistency-invalid`
 */
export function verifyConsistency(claim: ConsistencyClaim): void {
  const { firstSize, firstRoot, secondSize, secondRoot, proof } = claim;
  if (firstSize === secondSize && firstSize !== 0n) {
    if (proof.length > 0) refuseConsistency('an empty proof', `${proof.length} hashes`);
    if (!equalBytes(firstRoot, secondRoot)) refuseConsistency(toHex(firstRoot), toHex(secondRoot));
    return;
  }
  verifySubtreeConsistency({ start: 0n, end: firstSize, root: firstRoot, secondSize, secondRoot, proof });
}

export interface SubtreeConsistencyClaim {
  readonly start: bigint;
  readonly end: bigint;
  readonly root: Uint8Array;
  readonly secondSize: bigint;
  readonly secondRoot: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/**
 * That the subtree over the entries from `start` up to `end` is part of a larger tree
 * (draft-ietf-plants-merkle-tree-certs); with `start` zero it is the proof of RFC 9162 section 2.1.4.2.
 *
 * @throws RefusalError `log-proof-shape`, `log-consistency-invalid`
 */
export function verifySubtreeConsistency(claim: SubtreeConsistencyClaim): void {
  checkHashes(claim.proof, [claim.root, claim.secondRoot]);
  checkSize(claim.secondSize);
  if (claim.end > claim.secondSize) refuseShape('size', `at least ${claim.end}`, claim.secondSize.toString());
  const expected = claim.start === claim.end ? emptySubtree(claim) : climb(claim);
  if (!equalBytes(expected.first, claim.root)) refuseConsistency(toHex(expected.first), toHex(claim.root));
  if (!equalBytes(expected.second, claim.secondRoot)) {
    refuseConsistency(toHex(expected.second), toHex(claim.secondRoot));
  }
}

/** Every tree extends the empty one, so there is nothing to prove but that it is the empty one. */
function emptySubtree(claim: SubtreeConsistencyClaim): { first: Uint8Array; second: Uint8Array } {
  if (claim.proof.length > 0) refuseConsistency('an empty proof', `${claim.proof.length} hashes`);
  return { first: EMPTY_ROOT, second: claim.secondSize === 0n ? EMPTY_ROOT : claim.secondRoot };
}

/** Rebuilds both roots from the proof. */
function climb(claim: SubtreeConsistencyClaim): { first: Uint8Array; second: Uint8Array } {
  checkSubtree(claim.start, claim.end);
  let { start: left, end: right } = claim;
  right -= 1n;
  let last = claim.secondSize - 1n;
  const shift = (): void => {
    left >>= 1n;
    right >>= 1n;
    last >>= 1n;
  };
  // Levels on which the subtree is complete, or ends where the tree ends, need no hash.
  const endsTogether = right === last;
  while (left !== right && (endsTogether || isOdd(right))) shift();

  const rest = [...claim.proof];
  const seed = left === right ? claim.root : rest.shift();
  if (seed === undefined) refuseConsistency('a longer proof', '0 hashes');
  let first = seed;
  let second = seed;
  for (const hash of rest) {
    if (last === 0n) refuseConsistency('a shorter proof', `${claim.proof.length} hashes`);
    if (isOdd(right) || right === last) {
      if (left < right) first = nodeHash(hash, first);
      second = nodeHash(hash, second);
      while (!isOdd(right) && right !== 0n) shift();
    } else {
      second = nodeHash(second, hash);
    }
    shift();
  }
  if (last !== 0n) refuseConsistency('a longer proof', `${claim.proof.length} hashes`);
  return { first, second };
}

function isOdd(value: bigint): boolean {
  return (value & 1n) === 1n;
}

/** A range is a subtree when it starts at a multiple of the smallest power of two that is not below its length. */
function checkSubtree(start: bigint, end: bigint): void {
  checkSize(end);
  if (start < 0n || start >= end) refuseShape('start', `from 0 to below ${end}`, start.toString());
  let width = 1n;
  while (width < end - start) width <<= 1n;
  if (start % width !== 0n) refuseShape('start', `a multiple of ${width}`, start.toString());
}

function checkSize(size: bigint): void {
  if (size < 0n || size >= SIZE_LIMIT) refuseShape('size', 'a size below 2^64', size.toString());
}

function checkHashes(proof: readonly Uint8Array[], others: readonly Uint8Array[]): void {
  if (proof.length > MAX_PROOF_HASHES) {
    refuseShape('proof', `at most ${MAX_PROOF_HASHES} hashes`, `${proof.length} hashes`);
  }
  const wrong = [...proof, ...others].find((hash) => hash.length !== HASH_BYTES);
  if (wrong !== undefined) refuseShape('proof', `hashes of ${HASH_BYTES} bytes`, `${wrong.length} bytes`);
}

function refuseShape(field: string, expected: string, found: string): never {
  throw merkleShapeRefusals.error('log-proof-shape', { field, expected, found });
}

function refuseInclusion(expected: string, found: string): never {
  throw merkleRefusals.error('log-inclusion-invalid', { field: 'proof', expected, found });
}

function refuseConsistency(expected: string, found: string): never {
  throw merkleRefusals.error('log-consistency-invalid', { field: 'proof', expected, found });
}
