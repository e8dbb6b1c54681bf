/**
 * Exports of a log as a source of its files (docs/spec/audit.md, AU-14 to AU-17): whoever reads entries reads them
 * from exports as from a mirror, and rebuilds the root himself. Here is checked what a mirror does not have: that no file
 * was cut, no line moved or repeated, and that each file goes on where the one before it ended.
 */

import { equalBytes, excerpt, fromBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { openCheckpoint, type LogTrust, type VerifiedCheckpoint } from '../log/checkpoint.ts';
import { verifyConsistency } from '../log/merkle.ts';
import type { LogSource } from '../log/reader.ts';
import { TILE_WIDTH, encodeEntryBundle, parseTilePath } from '../log/tiles.ts';
import { parseUint64 } from '../log/uint64.ts';
import { readLines } from '../platform/lines.ts';
import {
  exportRefusals,
  exportTrustRefusals,
  exportUseRefusals,
  MAX_LINE_BYTES,
  readEntryOrTrailer,
  readHeader,
  type ExportTrailer,
} from './export-format.ts';

/** What the header of a file says, with its checkpoints verified. */
export interface ExportedRange {
  readonly path: string;
  readonly previous: VerifiedCheckpoint | undefined;
  readonly checkpoint: VerifiedCheckpoint;
}

/**
 * Reads the header of an export. Its entries are not looked at.
 *
 * @throws RefusalError `export-*`, `file-*`, `json-*`, `shape-mismatch`, and those of `openCheckpoint`
 */
export async function readExportedRange(path: string, trust: LogTrust): Promise<ExportedRange> {
  const lines = readLines(path, MAX_LINE_BYTES);
  const { value } = await lines.next();
  await lines.return(undefined);
  const header = readHeader(value instanceof Uint8Array ? value : undefined, path);
  if (header.origin !== trust.origin) {
    const facts = { field: path, expected: excerpt(trust.origin), found: excerpt(header.origin) };
    throw exportTrustRefusals.error('export-other-log', facts);
  }
  const checkpoint = await openCheckpoint(header.checkpoint, trust);
  const previous = header.previous === null ? undefined : await openCheckpoint(header.previous, trust);
  const first = previous?.size ?? 0n;
  agree(`${path}: first`, parseUint64(header.first, path), first);
  agree(`${path}: last`, parseUint64(header.last, path), checkpoint.size - 1n);
  // An export without entries proves nothing, and a header cannot say that it has any.
  if (checkpoint.size <= first || previous?.size === 0n) {
    refuse('export-contradiction', path, `more than ${first} entries`, checkpoint.size.toString());
  }
  return { path, previous, checkpoint };
}

/**
 * Opens exports that follow on one another. Whoever reads all entries from it has every one of these checked when the
 * last entry was given.
 *
 * @param paths at least one, from the first entry on
 * @throws RefusalError `export-gap`, and those of `readExportedRange`; its source also `line-too-long`, `base64-malformed`,
 *   `log-consistency-invalid`, `log-proof-shape`
 */
export async function openExports(paths: readonly string[], trust: LogTrust): Promise<LogSource> {
  const ranges: ExportedRange[] = [];
  for (const path of paths) {
    const range = await readExportedRange(path, trust);
    refuseGap(ranges.at(-1)?.checkpoint, range);
    ranges.push(range);
  }
  const newest = ranges.at(-1)?.checkpoint;
  if (newest === undefined) throw new RangeError('no export was given');
  const bundles = new BundleReader(() => entriesOf(ranges), newest.size);
  return async (path) => {
    if (path === 'checkpoint') return toUtf8(newest.note);
    const { level, index, width } = parseTilePath(path);
    return level === 'entries' ? await bundles.read(index, width) : undefined;
  };
}

function refuseGap(before: VerifiedCheckpoint | undefined, { path, previous }: ExportedRange): void {
  const [from, until] = [previous?.size ?? 0n, before?.size ?? 0n];
  if (from !== until) {
    const facts = { field: path, expected: `entries from ${until} on`, found: `entries from ${from} on` };
    throw exportUseRefusals.error('export-gap', facts);
  }
  if (before === undefined || previous === undefined || equalBytes(before.root, previous.root)) return;
  refuse(
    'export-contradiction',
    path,
    'the checkpoint of the export before',
    'another root of the same size',
  );
}

async function* entriesOf(ranges: readonly ExportedRange[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const range of ranges) yield* entriesOfOne(range);
}

async function* entriesOfOne({
  path,
  previous,
  checkpoint,
}: ExportedRange): AsyncGenerator<Uint8Array, void, undefined> {
  const lines = readLines(path, MAX_LINE_BYTES);
  try {
    // The header, which was read before.
    await lines.next();
    const first = previous?.size ?? 0n;
    let next = first;
    for (;;) {
      const { value } = await lines.next();
      const read = readEntryOrTrailer(value instanceof Uint8Array ? value : undefined, path);
      if (!('entry' in read)) {
        checkTrailer(read, { path, first, next, previous, checkpoint });
        break;
      }
      checkIndex(parseUint64(read.index, path), next, checkpoint.size, path);
      next += 1n;
      yield read.entry;
    }
    const { done } = await lines.next();
    if (done !== true) refuse('export-trailing', path, 'the end of the file', 'another line');
  } finally {
    await lines.return(undefined);
  }
}

function checkIndex(index: bigint, next: bigint, size: bigint, path: string): void {
  if (index < next) refuse('export-repeated', path, `entry ${next}`, `entry ${index} again`);
  if (index > next || index >= size) {
    refuse('export-order', path, next < size ? `entry ${next}` : 'the trailer', `entry ${index}`);
  }
}

interface ReadRange extends ExportedRange {
  readonly first: bigint;
  /** Index after the last entry line. */
  readonly next: bigint;
}

function checkTrailer(trailer: ExportTrailer, { path, first, next, previous, checkpoint }: ReadRange): void {
  if (next < checkpoint.size) refuse('export-cut', path, `entry ${next}`, 'the trailer');
  agree(`${path}: trailer.entries`, parseUint64(trailer.entries, path), checkpoint.size - first);
  agree(`${path}: trailer.last`, parseUint64(trailer.last, path), checkpoint.size - 1n);
  const proof = trailer.consistency.map((hash) => fromBase64(hash, `${path}: trailer.consistency`));
  if (previous === undefined) {
    agree(`${path}: trailer.consistency`, BigInt(proof.length), 0n);
    return;
  }
  const [firstSize, secondSize] = [previous.size, checkpoint.size];
  verifyConsistency({ firstSize, firstRoot: previous.root, secondSize, secondRoot: checkpoint.root, proof });
}

/** Two places that say one number. */
function agree(field: string, found: bigint, expected: bigint): void {
  if (found !== expected) refuse('export-contradiction', field, expected.toString(), found.toString());
}

function refuse(
  code: keyof typeof exportRefusals.codes,
  field: string,
  expected: string,
  found: string,
): never {
  throw exportRefusals.error(code, { field, expected, found });
}

/** Entries in bundles as a log serves them. Read once from front to back; a step back begins anew. */
class BundleReader {
  readonly #open: () => AsyncGenerator<Uint8Array, void, undefined>;
  readonly #size: bigint;
  #entries: AsyncGenerator<Uint8Array, void, undefined> | undefined;
  #next = 0n;
  /** One read after another: they share the place in the file. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(open: () => AsyncGenerator<Uint8Array, void, undefined>, size: bigint) {
    this.#open = open;
    this.#size = size;
  }

  read(bundle: bigint, width: number): Promise<Uint8Array | undefined> {
    const start = bundle * BigInt(TILE_WIDTH);
    const reading = this.#turn.then(() => this.#readFrom(start, width));
    this.#turn = reading.catch(() => undefined);
    return reading;
  }

  async #readFrom(start: bigint, width: number): Promise<Uint8Array | undefined> {
    if (start + BigInt(width) > this.#size) return undefined;
    if (this.#entries === undefined || start < this.#next) {
      await this.#entries?.return(undefined);
      this.#entries = this.#open();
      this.#next = 0n;
    }
    const entries: Uint8Array[] = [];
    while (this.#next < start + BigInt(width)) {
      const { value } = await this.#entries.next();
      if (!(value instanceof Uint8Array)) throw new RangeError('fewer entries than the headers say');
      if (this.#next >= start) entries.push(value);
      this.#next += 1n;
    }
    // What stands after the last entry is part of what was asked for.
    if (this.#next === this.#size) await this.#entries.next();
    return encodeEntryBundle(entries);
  }
}
