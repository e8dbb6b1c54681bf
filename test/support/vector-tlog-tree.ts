/** Judges of the tree, its proofs and tiles (merkle/, tiles/). */

import { fromBase64, fromHex, toHex } from '../../attestation/core/bytes.ts';
import {
  leafHash,
  nodeHash,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
  verifySubtreeInclusion,
} from '../../src/log/merkle.ts';
import {
  checkEntrySize,
  decodeEntryBundle,
  encodeEntryBundle,
  parseTilePath,
  partialTiles,
  tilePath,
  tileWidthAt,
} from '../../src/log/tiles.ts';
import { TreeBuilder } from '../../src/log/tree.ts';
import {
  agree,
  bytes,
  hashes,
  number,
  text,
  texts,
  type JudgeRow,
  type VectorCase,
} from './vector-tlog-case.ts';

function judgeSubtreeInclusion(vector: VectorCase): void {
  verifySubtreeInclusion({
    leafHash: bytes(vector, 'leaf_hash'),
    index: number(vector, 'index'),
    start: number(vector, 'start'),
    end: number(vector, 'end'),
    proof: hashes(vector),
    root: bytes(vector, 'root'),
  });
}

function judgeInclusion(vector: VectorCase): void {
  verifyInclusion({
    leafHash: bytes(vector, 'leaf_hash'),
    index: number(vector, 'index'),
    size: number(vector, 'size'),
    proof: hashes(vector),
    root: bytes(vector, 'root'),
  });
}

function judgeSubtreeConsistency(vector: VectorCase): void {
  verifySubtreeConsistency({
    start: number(vector, 'start'),
    end: number(vector, 'end'),
    root: bytes(vector, 'root1'),
    secondSize: number(vector, 'size'),
    secondRoot: bytes(vector, 'root2'),
    proof: hashes(vector),
  });
}

function judgeConsistency(vector: VectorCase): void {
  verifyConsistency({
    firstSize: number(vector, 'size1'),
    firstRoot: bytes(vector, 'root1'),
    secondSize: number(vector, 'size2'),
    secondRoot: bytes(vector, 'root2'),
    proof: hashes(vector),
  });
}

function judgeRoot(vector: VectorCase): void {
  if (vector['node_children_hex'] !== undefined) {
    const [left, right] = texts(vector, 'node_children_hex').map((hex) => fromHex(hex, 'child'));
    agree(toHex(nodeHash(left!, right!)), vector['root_hex'], 'node');
    return;
  }
  const tree = new TreeBuilder();
  for (const leaf of texts(vector, 'leaves_hex')) tree.append(fromHex(leaf, 'leaf'));
  agree(toHex(tree.root()), vector['root_hex'], 'root');
}

function judgeLeaf(vector: VectorCase): void {
  agree(toHex(leafHash(bytes(vector, 'leaf'))), toHex(bytes(vector, 'leaf_hash')), 'leaf hash');
}

function judgePath(vector: VectorCase): void {
  const tile = parseTilePath(text(vector, 'path'));
  agree(tile.level.toString(), vector['level'], 'level');
  agree(tile.index.toString(), vector['index'], 'index');
  agree(tile.width === 256 ? 0 : tile.width, vector['width'], 'width');
  agree(tilePath(tile), text(vector, 'path'), 'path');
}

function judgeSizes(vector: VectorCase): void {
  const size = number(vector, 'size');
  const levels: Record<string, unknown>[] = [];
  for (let level = 0; size >> BigInt(8 * level) > 0n; level += 1) {
    const full = size >> BigInt(8 * level + 8);
    const partial = partialTiles(size).find((tile) => tile.level === level);
    agree(tileWidthAt(size, level, full), partial?.width ?? 0, 'width');
    levels.push({
      level: level.toString(),
      full_tiles: full.toString(),
      ...(partial === undefined ? {} : { partial: tilePath(partial) }),
    });
  }
  agree(levels, vector['tiles'], 'tiles');
  const [last] = partialTiles(size);
  if (last?.level === 0) {
    agree(tilePath({ ...last, level: 'entries' }), vector['partial_bundle'], 'partial bundle');
  }
}

function judgeBundle(vector: VectorCase): void {
  if (vector['bundle'] !== undefined) {
    const entries = decodeEntryBundle(bytes(vector, 'bundle'));
    agree(
      entries.map((entry) => toHex(entry)),
      texts(vector, 'entries').map((entry) => toHex(fromBase64(entry, 'entry'))),
      'entries',
    );
    agree(toHex(encodeEntryBundle(entries)), toHex(bytes(vector, 'bundle')), 'bundle');
    return;
  }
  checkEntrySize(new Uint8Array(Number(vector['entry_length'])));
}

/** By the members of a case; the first row whose members are all there. */
export const TREE_JUDGES: readonly JudgeRow[] = [
  { members: ['leaf_hash', 'start', 'end', 'root'], judge: judgeSubtreeInclusion },
  { members: ['leaf_hash', 'index', 'size', 'root'], judge: judgeInclusion },
  { members: ['start', 'end', 'root1', 'root2'], judge: judgeSubtreeConsistency },
  { members: ['size1', 'size2', 'root1', 'root2'], judge: judgeConsistency },
  { members: ['root_hex'], judge: judgeRoot },
  { members: ['leaf', 'leaf_hash'], judge: judgeLeaf },
  { members: ['path'], judge: judgePath },
  { members: ['size', 'tiles'], judge: judgeSizes },
  { members: ['bundle'], judge: judgeBundle },
];
