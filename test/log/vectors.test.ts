import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { toHex } from '../../attestation/core/bytes.ts';
import { parseCheckpointBody } from '../../src/log/checkpoint.ts';
import { EMPTY_ROOT, leafHash, nodeHash } from '../../src/log/merkle.ts';
import { parseNote } from '../../src/log/note.ts';
import { sha256 } from '../../src/log/sha256.ts';
import { decodeEntryBundle, tilePath, tileWidthAt } from '../../src/log/tiles.ts';
import { TreeBuilder } from '../../src/log/tree.ts';
import { vectorFolder, vectorsMissing } from '../support/vectors.ts';
import { judgeFor, type VectorCase } from './vectors.ts';

const folder = vectorFolder('tlog');
const missing = vectorsMissing('tlog');

interface Manifest {
  readonly files: readonly { readonly file: string; readonly cases: number }[];
  readonly raw_groups: readonly {
    readonly group: string;
    readonly files: readonly { readonly file: string; readonly sha256: string }[];
  }[];
}

const NOTHING: Manifest = { files: [], raw_groups: [] };

function read(name: string): unknown {
  return JSON.parse(readFileSync(join(folder, name), 'utf8'));
}

describe('TL-1 to TL-15: the transparency vectors', () => {
  if (missing !== undefined) it.skip(missing, () => undefined);
  const { files, raw_groups: groups } = missing === undefined ? (read('manifest.json') as Manifest) : NOTHING;
  for (const { file, cases } of files) {
    const judge = judgeFor(file);
    if (judge === undefined) {
      it.skip(`${file}: not judged by the log`, () => undefined);
      continue;
    }
    it(`${file}: all ${cases} cases`, async () => {
      const vectors = (read(file) as { cases: readonly VectorCase[] }).cases;
      expect(vectors).toHaveLength(cases);
      const wrong: string[] = [];
      for (const vector of vectors) {
        const { verdict, detail } = await judge(vector);
        if (verdict === 'unsupported') continue;
        if (verdict !== vector.expect) wrong.push(`${vector.id}: ${detail}, not ${vector.expect}`);
      }
      expect(wrong).toEqual([]);
    });
  }

  for (const { group, files: raw } of groups) {
    const checkpoints = raw.filter(({ file }) => /(^|\/)checkpoint(\.\d+)?$/.test(file));
    if (checkpoints.length === 0) continue;
    it(`TL-25: ${group}: ${checkpoints.length} checkpoints of another implementation are rebuilt`, () => {
      for (const { file, sha256: digest } of raw) {
        expect(toHex(sha256(readFileSync(join(folder, file))))).toBe(digest);
      }
      for (const { file } of checkpoints) {
        const log = join(folder, dirname(file));
        const body = parseCheckpointBody(parseNote(readFileSync(join(folder, file), 'utf8')).text);
        expect(toHex(rebuiltRoot(log, body.size))).toBe(toHex(body.root));
      }
    });
  }
});

/** The root that the files of a log give: from entries where it serves them, otherwise from its lowest tiles. */
function rebuiltRoot(log: string, size: bigint): Uint8Array {
  const tree = new TreeBuilder();
  const hashes: Uint8Array[] = [];
  for (let index = 0n; index << 8n < size; index += 1n) {
    const width = tileWidthAt(size, 'entries', index);
    const bundle = join(log, tilePath({ level: 'entries', index, width }));
    const tile = readFileSync(join(log, tilePath({ level: 0, index, width })));
    for (let i = 0; i < width; i += 1) hashes.push(tile.subarray(32 * i, 32 * i + 32));
    if (!existsSync(bundle)) continue;
    for (const entry of decodeEntryBundle(readFileSync(bundle))) {
      expect(toHex(leafHash(entry))).toBe(toHex(hashes[Number(tree.size)]!));
      tree.append(entry);
    }
  }
  const folded = foldHashes(hashes);
  if (tree.size === size) expect(toHex(tree.root())).toBe(toHex(folded));
  return folded;
}

function foldHashes(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length < 2) return hashes[0] ?? EMPTY_ROOT;
  let half = 1;
  while (half * 2 < hashes.length) half *= 2;
  return nodeHash(foldHashes(hashes.slice(0, half)), foldHashes(hashes.slice(half)));
}
