/** Tiles and entry bundles (C2SP tlog-tiles; TL-11 to TL-13): the static files by which a log is read. */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const tileRefusals = defineRefusals('malformed', {
  'log-tile-path': {
    means: 'A path does not name a tile or an entry bundle.',
    hint: 'Paths look like tile/0/x001/067, tile/0/002.p/17 or tile/entries/000.',
  },
  'log-bundle-malformed': {
    means: 'An entry bundle is not a row of entries with their lengths.',
    hint: 'The bundle was cut or altered; fetch it again or from another mirror.',
  },
  'log-entry-size': {
    means: 'An entry is empty or larger than a log can hold.',
    hint: 'Keep the document elsewhere and log its SHA-256.',
  },
});

/** Hashes or entries in a full tile. */
export const TILE_WIDTH = 256;
/** Levels of the tree that one level of tiles covers. */
export const TILE_HEIGHT = 8;
export const MAX_ENTRY_BYTES = 0xffff;

const MAX_TILE_LEVEL = 63;

/** Where a tile stands. */
export interface TileId {
  /** 0 holds leaf hashes, each higher level the roots of full tiles below; `entries` holds the entries themselves. */
  readonly level: number | 'entries';
  readonly index: bigint;
  /** 1 to 256; 256 is a full tile. */
  readonly width: number;
}

/** The path of a tile, without a leading slash. */
export function tilePath({ level, index, width }: TileId): string {
  const digits = index.toString();
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g) ?? [];
  const number = groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/');
  return `tile/${level}/${number}${width === TILE_WIDTH ? '' : `.p/${width}`}`;
}

/**
 * Reads the path of a tile. Each tile has one path.
 *
 * @param path without a leading slash; comes from whoever asks
 * @throws RefusalError `log-tile-path`
 */
export function parseTilePath(path: string): TileId {
  const match = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/){0,6}\d{3})(?:\.p\/(\d{1,3}))?$/.exec(path);
  const [, level = '', number = '', width] = match ?? [];
  const tile: TileId = {
    level: level === 'entries' ? level : Number(level),
    index: BigInt(number.replace(/[x/]/g, '')),
    width: width === undefined ? TILE_WIDTH : Number(width),
  };
  const inRange =
    tile.width >= 1 && tile.width <= TILE_WIDTH && (level === 'entries' || Number(level) <= MAX_TILE_LEVEL);
  if (match === null || !inRange || tilePath(tile) !== path) {
    throw tileRefusals.error('log-tile-path', {
      field: 'path',
      expected: 'tile/<level>/<number>, with .p/<width> where it is partial',
      found: excerpt(path),
    });
  }
  return tile;
}

/** How wide a tile is in a tree of this size: 0 where it does not exist, up to 256. */
export function tileWidthAt(size: bigint, level: number | 'entries', index: bigint): number {
  const height = level === 'entries' ? 0 : level * TILE_HEIGHT;
  const beyond = (size >> BigInt(height)) - index * BigInt(TILE_WIDTH);
  if (beyond <= 0n) return 0;
  return beyond >= BigInt(TILE_WIDTH) ? TILE_WIDTH : Number(beyond);
}

/** The rightmost tile of each level that is not full and not empty; these are all the partial tiles of a tree. */
export function partialTiles(size: bigint): readonly TileId[] {
  const tiles: TileId[] = [];
  for (let level = 0; size >> BigInt(level * TILE_HEIGHT) > 0n; level += 1) {
    const index = size >> BigInt((level + 1) * TILE_HEIGHT);
    const width = tileWidthAt(size, level, index);
    if (width > 0) tiles.push({ level, index, width });
  }
  return tiles;
}

const LENGTH_BYTES = 2;

/** Each entry after its length (unsigned, big-endian). @throws RefusalError `log-entry-size` above 65,535 bytes */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  const size = entries.reduce((sum, entry) => sum + LENGTH_BYTES + entry.length, 0);
  const bundle = new Uint8Array(size);
  const view = new DataView(bundle.buffer);
  let at = 0;
  for (const entry of entries) {
    if (entry.length > MAX_ENTRY_BYTES) refuseEntrySize(entry);
    view.setUint16(at, entry.length);
    bundle.set(entry, at + LENGTH_BYTES);
    at += LENGTH_BYTES + entry.length;
  }
  return bundle;
}

/**
 * Reads an entry bundle. The entries are views of it.
 *
 * @param bundle comes from whoever serves the log
 * @throws RefusalError `log-bundle-malformed`
 */
export function decodeEntryBundle(bundle: Uint8Array): readonly Uint8Array[] {
  const entries: Uint8Array[] = [];
  const view = new DataView(bundle.buffer, bundle.byteOffset, bundle.byteLength);
  for (let at = 0; at < bundle.length;) {
    const start = at + LENGTH_BYTES;
    const end = start <= bundle.length ? start + view.getUint16(at) : Number.POSITIVE_INFINITY;
    if (end > bundle.length || entries.length === TILE_WIDTH) {
      throw tileRefusals.error('log-bundle-malformed', {
        field: `entries[${entries.length}]`,
        expected: `at most ${TILE_WIDTH} entries that end with the bundle`,
        found: `${bundle.length - at} bytes left`,
      });
    }
    entries.push(bundle.subarray(start, end));
    at = end;
  }
  return entries;
}

/** @throws RefusalError `log-entry-size` */
export function checkEntrySize(entry: Uint8Array): void {
  if (entry.length === 0 || entry.length > MAX_ENTRY_BYTES) refuseEntrySize(entry);
}

function refuseEntrySize(entry: Uint8Array): never {
  throw tileRefusals.error('log-entry-size', {
    field: 'entry',
    expected: `1 to ${MAX_ENTRY_BYTES} bytes`,
    found: `${entry.length} bytes`,
  });
}
