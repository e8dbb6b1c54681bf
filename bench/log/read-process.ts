/** Reads a long log to its end, in one of several ways, or only starts it. */

import { createHash, hash } from 'node:crypto';
import { join } from 'node:path';

import { openReleaseLog, readReleaseLog } from '../../src/log/log-folder.ts';
import { auditLog, type LogSource } from '../../src/log/reader.ts';
import { folderSource, publishedSource } from '../../src/log/sources.ts';
import { TILE_WIDTH, decodeEntryBundle, tilePath, tileWidthAt } from '../../src/log/tiles.ts';
import { moduleArguments, report } from '../support/program.ts';
import { measured, ORIGIN, signerOf } from './work.ts';

export type Reading = 'hash' | 'hash-each' | 'audit-mirror' | 'audit-database' | 'start';

export interface ReadTask {
  readonly folder: string;
  readonly privateKey: string;
  readonly entries: number;
  readonly reading: Reading;
}

const { folder, privateKey, entries, reading } = moduleArguments() as ReadTask;
const size = BigInt(entries);
const signer = signerOf(privateKey);
const trust = { origin: ORIGIN, keys: [signer.key] };
const mirror = folderSource(join(folder, 'mirror'));

async function forEachBundle(take: (bundle: Uint8Array) => void): Promise<void> {
  for (let index = 0n; index * BigInt(TILE_WIDTH) < size; index += 1n) {
    const width = tileWidthAt(size, 'entries', index);
    take((await mirror(tilePath({ level: 'entries', index, width }))) ?? new Uint8Array(0));
  }
}

async function audit(source: LogSource): Promise<void> {
  let visited = 0;
  await auditLog(source, trust, { minimumSize: size }, () => {
    visited += 1;
  });
  if (visited !== entries) throw new Error(`${visited} entries`);
}

const WORK: Readonly<Record<Reading, () => Promise<void>>> = {
  hash: async () => {
    const sum = createHash('sha256');
    await forEachBundle((bundle) => sum.update(bundle));
    sum.digest();
  },
  'hash-each': () =>
    forEachBundle((bundle) => {
      for (const entry of decodeEntryBundle(bundle)) hash('sha256', entry, 'buffer');
    }),
  'audit-mirror': () => audit(mirror),
  'audit-database': async () => {
    const log = await readReleaseLog(folder, trust);
    await audit(publishedSource(log));
    await log.close();
  },
  start: async () => {
    await (await openReleaseLog(folder, { origin: ORIGIN, signers: [signer] })).close();
  },
};

report(await measured(WORK[reading]));
