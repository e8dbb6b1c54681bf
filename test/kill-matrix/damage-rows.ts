/** What lies on the disk was changed while no log was open: lost, older, or a bit of it. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { closedBase, killedBase, workOn, type Base } from './bases.ts';
import { AFTER_OPENING, COMES_BACK, type Point, type Row } from './matrix.ts';

/** Of one page in the write-ahead log: SQLite file format, section 4.1. */
const WAL_HEADER_BYTES = 32;
const FRAME_BYTES = 24 + 4096;
/** A prime, so that the bits fall into all parts of the pages. */
const FLIP_STEP_BYTES = 97;

/** What a damaged database is refused by: by SQLite, as a log, or because a checkpoint in it is none. */
const AT_OPENING = [
  ...['log-storage-failed', 'log-storage-version', 'log-damaged', 'log-rolled-back', 'log-forked'],
  ...['log-note-malformed', 'log-note-signature', 'log-note-unsigned', 'log-checkpoint-malformed'],
];
/** Old entries and inner nodes are read only by those who audit, or who check a proof. */
const BY_READERS = ['log-root-mismatch', 'log-inclusion-invalid', 'log-damaged', 'log-storage-failed'];

export const DAMAGE_ROWS: readonly Row[] = [
  walRow('the write-ahead log ends early', (bytes, at) => bytes.subarray(0, at)),
  walRow('the write-ahead log ends early, within a page', (bytes, at) =>
    bytes.subarray(0, at + FRAME_BYTES / 2),
  ),
  walRow('a page of the write-ahead log is garbled', (bytes, at) => {
    const garbled = Buffer.from(bytes);
    return garbled.fill(0xa5, at + 24, at + FRAME_BYTES);
  }),
  {
    fault: 'a bit of the database is flipped',
    expected: [COMES_BACK, ...AT_OPENING, ...BY_READERS.map((code) => `${code}${AFTER_OPENING}`)],
    points: async (workshop) => {
      const base = await closedBase(workshop);
      const { length } = await readFile(join(base.folder ?? '', 'log.sqlite'));
      return Array.from({ length: Math.floor(length / FLIP_STEP_BYTES) }, (_, i) =>
        changedPoint(`byte ${i * FLIP_STEP_BYTES}`, base, 'log.sqlite', (bytes) =>
          flipped(bytes, i * FLIP_STEP_BYTES),
        ),
      );
    },
  },
];

function walRow(fault: string, change: (bytes: Buffer, at: number) => Buffer): Row {
  return {
    fault,
    expected: [COMES_BACK, 'log-rolled-back'],
    points: async (workshop) => {
      const base = await killedBase(workshop);
      const { length } = await readFile(join(base.folder ?? '', 'log.sqlite-wal'));
      const frames = Math.floor((length - WAL_HEADER_BYTES) / FRAME_BYTES);
      return Array.from({ length: frames }, (_, i) =>
        changedPoint(`page ${i}`, base, 'log.sqlite-wal', (bytes) =>
          change(bytes, WAL_HEADER_BYTES + i * FRAME_BYTES),
        ),
      );
    },
  };
}

function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
  return changed;
}

function changedPoint(name: string, base: Base, file: string, change: (bytes: Buffer) => Buffer): Point {
  return {
    name,
    strike: async (folder) => {
      const { folder: log } = await workOn(base, folder, { batches: [] });
      const path = join(log, file);
      await writeFile(path, change(await readFile(path)));
      return await base.history.clone().reopen(log, ['a', 'b', 'c'], undefined);
    },
  };
}
