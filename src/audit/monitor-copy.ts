/**
 * The monitor's own copy of a log: the static files of tlog-tiles less the hashes, which follow from the entries. It is all
 * that a monitor remembers: tree and rules are rebuilt from it, so that nothing derived can be stale, and what is there
 * verifies like any other copy. The checkpoint is replaced last, after everything up to it was looked at (AU-40).
 */

import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { defineRefusals, isRefusal } from '../../attestation/core/refusal.ts';
import { openCheckpoint, type LogTrust, type VerifiedCheckpoint } from '../log/checkpoint.ts';
import { auditLog, type EntryVisitor } from '../log/reader.ts';
import { folderSource } from '../log/sources.ts';
import { encodeEntryBundle, tilePath, tileWidthAt, TILE_WIDTH } from '../log/tiles.ts';
import { fileRefusals, writeFileDurably } from '../platform/files.ts';

export const copyRefusals = defineRefusals('environment', {
  'monitor-copy-damaged': {
    means:
      "The monitor's own copy of a log is not what its checkpoint was signed over, or is of another log.",
    hint: 'Keep it, and find out who changed it. To begin anew give another folder; it is read from the first entry on.',
  },
});

const CHECKPOINT = 'checkpoint';
const FILE_MODE = 0o644;
const FOLDER_MODE = 0o755;

export class LogCopy {
  readonly #folder: string;
  readonly #trust: LogTrust;

  /** @param folder is made when something is written to it */
  constructor(folder: string, trust: LogTrust) {
    this.#folder = folder;
    this.#trust = trust;
  }

  /**
   * Reads the whole copy.
   *
   * @returns up to where everything was looked at; undefined where nothing was
   * @throws RefusalError `monitor-copy-damaged`, `file-not-readable`
   */
  async read(visit: EntryVisitor): Promise<VerifiedCheckpoint | undefined> {
    const source = folderSource(this.#folder);
    const note = await source(CHECKPOINT);
    if (note === undefined) return undefined;
    try {
      await openCheckpoint(fromUtf8(note, CHECKPOINT), this.#trust);
      return await auditLog(source, this.#trust, { minimumSize: 1n }, visit);
    } catch (cause) {
      if (!isRefusal(cause) || cause.refusal.code in fileRefusals.codes) throw cause;
      const { code, field, expected, found } = cause.refusal;
      const facts = { field: this.#folder, expected: `${field}: ${expected}`, found: `${found} (${code})` };
      throw copyRefusals.error('monitor-copy-damaged', facts, { cause });
    }
  }

  /** Entries of a bundle. Until the checkpoint reaches them they are only what a source has said. */
  async writeBundle(index: bigint, entries: readonly Uint8Array[]): Promise<void> {
    const path = tilePath({ level: 'entries', index, width: entries.length });
    await this.#write(path, encodeEntryBundle(entries));
  }

  /** Everything up to this checkpoint was looked at, and whatever it called for was said. */
  async moveTo(checkpoint: VerifiedCheckpoint, from: VerifiedCheckpoint | undefined): Promise<void> {
    await this.#write(CHECKPOINT, toUtf8(checkpoint.note));
    if (from === undefined || from.size === checkpoint.size) return;
    const index = from.size / BigInt(TILE_WIDTH);
    const width = tileWidthAt(from.size, 'entries', index);
    if (width === 0) return;
    const partial = join(this.#folder, tilePath({ level: 'entries', index, width }));
    const isFull = tileWidthAt(checkpoint.size, 'entries', index) === TILE_WIDTH;
    await rm(isFull ? dirname(partial) : partial, { recursive: true, force: true });
  }

  /** Keeps a note that proves something. The same note again is the same file. @returns its path in the folder */
  async keepEvidence(name: string, note: string): Promise<string> {
    const digest = createHash('sha256').update(note).digest('hex').slice(0, 16);
    const path = join('evidence', `${name}-${digest}.note`);
    await this.#write(path, toUtf8(note));
    return path;
  }

  async #write(path: string, bytes: Uint8Array): Promise<void> {
    const full = join(this.#folder, path);
    await mkdir(dirname(full), { recursive: true, mode: FOLDER_MODE });
    await writeFileDurably(full, bytes, FILE_MODE);
  }
}
