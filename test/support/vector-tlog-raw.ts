/** Logs as static files: every checkpoint of a group is rebuilt from the group's tiles and entries (tiles/). */

import { fromUtf8, toHex } from '../../attestation/core/bytes.ts';
import { parseCheckpointBody } from '../../src/log/checkpoint-body.ts';
import { EMPTY_ROOT, leafHash, nodeHash } from '../../src/log/merkle.ts';
import { parseNote } from '../../src/log/note.ts';
import { decodeEntryBundle, tilePath, tileWidthAt } from '../../src/log/tiles.ts';
import { agree, demand } from './vector-tlog-case.ts';

export interface RawGroup {
  readonly group: string;
  readonly files: readonly { readonly file: string; readonly sha256: string }[];
}

/** Files of a group by their path, each of the digest that the manifest states. */
export type RawFiles = ReadonlyMap<string, Uint8Array>;

const HASH_BYTES = 32;
/** The first line of a checkpoint, its size and its root: what other files of a log do not begin with. */
const CHECKPOINT = /^[^\n]+\n[0-9]+\n[A-Za-z0-9+/]{43}=\n/;

/** Which files are checkpoints follows from what they hold. */
export function isCheckpoint(content: Uint8Array): boolean {
  try {
    return CHECKPOINT.test(fromUtf8(content.subarray(0, 1024), 'file'));
  } catch {
    return false;
  }
}

/** @throws Disagreement when the files give another root than the checkpoint */
export function rebuild(files: RawFiles, path: string): void {
  const content = files.get(path) ?? new Uint8Array(0);
  const { size, root } = parseCheckpointBody(parseNote(fromUtf8(content, path)).text);
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  agree(toHex(foldHashes(leafHashes(files, folder, size))), toHex(root), 'root');
}

/** From the lowest tiles, each hash of which must be that of the entry where entries are there. */
function leafHashes(files: RawFiles, folder: string, size: bigint): readonly Uint8Array[] {
  const hashes: Uint8Array[] = [];
  for (let index = 0n; index << 8n < size; index += 1n) {
    const width = tileWidthAt(size, 0, index);
    const tile = files.get(`${folder}${tilePath({ level: 0, index, width })}`);
    demand(tile?.length === HASH_BYTES * width, `tile ${index} of ${width} hashes`);
    const bundle = files.get(`${folder}${tilePath({ level: 'entries', index, width })}`);
    const entries = bundle === undefined ? [] : decodeEntryBundle(bundle);
    demand(bundle === undefined || entries.length === width, `bundle ${index}`);
    for (let i = 0; i < width; i += 1) {
      const hash = tile.subarray(HASH_BYTES * i, HASH_BYTES * (i + 1));
      const entry = entries[i];
      if (entry !== undefined) agree(toHex(leafHash(entry)), toHex(hash), `entry ${hashes.length}`);
      hashes.push(hash);
    }
  }
  return hashes;
}

function foldHashes(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length < 2) return hashes[0] ?? EMPTY_ROOT;
  let half = 1;
  while (half * 2 < hashes.length) half *= 2;
  return nodeHash(foldHashes(hashes.slice(0, half)), foldHashes(hashes.slice(half)));
}
