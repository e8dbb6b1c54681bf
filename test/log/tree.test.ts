import { sha256 as portableSha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { EMPTY_ROOT, leafHash, verifyConsistency, verifyInclusion } from '../../src/log/merkle.ts';
import { sha256 } from '../../src/log/sha256.ts';
import {
  foldPlan,
  planConsistency,
  planInclusion,
  planRoot,
  TreeBuilder,
  type NodePlan,
} from '../../src/log/tree.ts';
import { refusalCode } from '../support/refusal-code.ts';
import { naiveConsistency, naivePath, naiveRoot } from './naive-tree.ts';

const LARGEST = 70;
const entries = Array.from({ length: LARGEST }, (_, i) => toUtf8(`entry ${i}`));
const builder = new TreeBuilder();
const nodes = new Map<string, Uint8Array>();
const roots = [builder.root()];
for (const entry of entries) {
  for (const { level, index, hash } of builder.append(entry)) nodes.set(`${level}/${index}`, hash);
  roots.push(builder.root());
}

/** Folds a plan out of the nodes that the builder gave; a node that it never gave is a failure. */
function fold(plan: NodePlan): Uint8Array {
  return foldPlan(plan.map(({ level, index }) => nodes.get(`${level}/${index}`)!));
}

const indexAndSize = fc
  .integer({ min: 1, max: LARGEST })
  .chain((size) => fc.tuple(fc.integer({ min: 0, max: size - 1 }), fc.constant(size)));

describe('hashing', () => {
  it('TL-1: has the hashes of RFC 6962 for the empty tree and the empty entry', () => {
    expect(toHex(EMPTY_ROOT)).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(toHex(leafHash(new Uint8Array(0)))).toBe(
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    );
  });

  it('TL-1: is the same in Node and in browsers, for entries of any length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (entry) => {
        expect(sha256(entry)).toEqual(portableSha256(entry));
        expect(leafHash(entry)).toEqual(portableSha256(concatBytes(Uint8Array.of(0), entry)));
      }),
    );
    const large = new Uint8Array(200_000).fill(7);
    expect(leafHash(large)).toEqual(portableSha256(concatBytes(Uint8Array.of(0), large)));
  });
});

describe('tree', () => {
  it('TL-1: the builder has the roots of the recursive definition', () => {
    for (let size = 0; size <= LARGEST; size += 1) {
      expect(roots[size]).toEqual(naiveRoot(entries.slice(0, size)));
    }
  });

  it('TL-1: entries that are added together give the tree of entries that are added one by one', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 600 }), { maxLength: 4 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 2000 }), (parts, length) => {
        const [together, single] = [new TreeBuilder(), new TreeBuilder()];
        for (const [part, size] of parts.entries()) {
          const entries = Array.from({ length: size }, (_, i) =>
            new Uint8Array(1 + (length % (i + 1))).fill(part + i),
          );
          together.appendAll(entries);
          for (const entry of entries) single.append(entry);
          expect(together.size).toBe(single.size);
          expect(together.root()).toEqual(single.root());
        }
      }),
      { numRuns: 30 },
    );
  });

  it('TL-1: stored nodes give the root of every earlier size', () => {
    expect(roots[0]).toEqual(EMPTY_ROOT);
    for (let size = 1; size <= LARGEST; size += 1) expect(fold(planRoot(BigInt(size)))).toEqual(roots[size]);
  });

  it('TL-1: a builder that was resumed from its right edge grows as the first one did', () => {
    for (const size of [0, 1, 2, 3, 31, 32, 33, 63, 64, 69]) {
      const edge = planRoot(BigInt(size)).map((id) => fold([id]));
      const resumed = new TreeBuilder(BigInt(size), edge);
      resumed.append(entries[size]!);
      expect(resumed.root()).toEqual(roots[size + 1]);
      expect(resumed.size).toBe(BigInt(size + 1));
    }
  });

  it('TL-3: inclusion proofs are those of the recursive definition, and verify', () => {
    fc.assert(
      fc.property(indexAndSize, ([index, size]) => {
        const proof = planInclusion(BigInt(index), BigInt(size)).map(fold);
        expect(proof).toEqual(naivePath(index, entries.slice(0, size)));
        verifyInclusion({
          leafHash: leafHash(entries[index]!),
          index: BigInt(index),
          size: BigInt(size),
          proof,
          root: roots[size]!,
        });
      }),
    );
  });

  it('TL-3: consistency proofs are those of the recursive definition, and verify', () => {
    for (let second = 1; second <= LARGEST; second += 1) {
      for (let first = 0; first <= second; first += 1) {
        const proof = planConsistency(BigInt(first), BigInt(second)).map(fold);
        expect(proof).toEqual(naiveConsistency(first, entries.slice(0, second)));
        verifyConsistency({
          firstSize: BigInt(first),
          firstRoot: roots[first]!,
          secondSize: BigInt(second),
          secondRoot: roots[second]!,
          proof,
        });
      }
    }
  });

  it('TL-3: an inclusion proof with anything changed is refused', () => {
    const changes = ['flip', 'drop', 'add', 'index', 'entry', 'short hash'] as const;
    fc.assert(
      fc.property(indexAndSize, fc.constantFrom(...changes), fc.nat(), ([index, size], change, seed) => {
        const proof = planInclusion(BigInt(index), BigInt(size)).map((plan) => Uint8Array.from(fold(plan)));
        const claim = { leafHash: leafHash(entries[index]!), index: BigInt(index), size: BigInt(size) };
        const at = seed % Math.max(proof.length, 1);
        if (change === 'flip' && proof.length > 0) proof[at]![seed % 32]! ^= 1 << (seed % 8);
        else if (change === 'drop' && proof.length > 0) proof.splice(at, 1);
        else if (change === 'short hash' && proof.length > 0) proof[at] = proof[at]!.subarray(1);
        else if (change === 'index') claim.index = (claim.index + 1n) % (claim.size + 1n);
        else if (change === 'entry') claim.leafHash = leafHash(toUtf8('another'));
        else proof.push(new Uint8Array(32));
        expect(
          refusalCode(() => {
            verifyInclusion({ ...claim, proof, root: roots[size]! });
          }),
        ).toMatch(/^log-(inclusion-invalid|proof-shape)$/);
      }),
      { numRuns: 500 },
    );
  });

  it('TL-3: more than 63 hashes are refused before any is used', () => {
    const claim = {
      leafHash: new Uint8Array(32),
      index: 0n,
      size: (1n << 64n) - 1n,
      root: new Uint8Array(32),
    };
    const proof = Array.from({ length: 64 }, () => new Uint8Array(32));
    expect(
      refusalCode(() => {
        verifyInclusion({ ...claim, proof });
      }),
    ).toBe('log-proof-shape');
  });
});
