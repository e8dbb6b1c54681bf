/** Makes a long log: the database of a server, and beside it the static files of a mirror. */

import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { createReleaseLog, openReleaseLog } from '../../src/log/log-folder.ts';
import { openSqliteStorage } from '../../src/log/sqlite-storage.ts';
import { tileRoutes } from '../../src/log/tile-routes.ts';
import { TILE_WIDTH, tilePath, tileWidthAt } from '../../src/log/tiles.ts';
import { TreeBuilder, type TreeNode } from '../../src/log/tree.ts';
import { moduleArguments, report } from '../support/program.ts';
import { entryOf, ORIGIN, signerOf } from './work.ts';

export interface MakeTask {
  readonly folder: string;
  readonly privateKey: string;
  readonly entries: number;
  readonly entryBytes: number;
}

/** Entries in one transaction. */
const BATCH = 8192;

const { folder, privateKey, entries, entryBytes } = moduleArguments() as MakeTask;
const identity = { origin: ORIGIN, signers: [signerOf(privateKey)] };

/** As the log itself does, without signing and proving each batch. */
async function fillDatabase(): Promise<void> {
  await (await createReleaseLog(folder, identity)).close();
  const storage = openSqliteStorage(join(folder, 'log.sqlite'));
  const tree = new TreeBuilder();
  for (let start = 0; start < entries; start += BATCH) {
    const count = Math.min(BATCH, entries - start);
    const batch = Array.from({ length: count }, (_, i) => ({ entry: entryOf(0, start + i, entryBytes) }));
    const nodes: TreeNode[] = [];
    for (const { entry } of batch) nodes.push(...tree.append(entry));
    const head = { size: tree.size, root: tree.root() };
    await storage.append({ sizeBefore: BigInt(start), entries: batch, nodes, head });
  }
  await storage.close();
}

async function writeMirror(mirror: string): Promise<void> {
  const log = await openReleaseLog(folder, identity);
  const route = tileRoutes(log);
  const size = log.published.size;
  const write = async (path: string): Promise<void> => {
    await mkdir(dirname(join(mirror, path)), { recursive: true });
    await writeFile(join(mirror, path), (await route(path)).body);
  };
  await write('checkpoint');
  for (let index = 0n; index * BigInt(TILE_WIDTH) < size; index += 1n) {
    await write(tilePath({ level: 'entries', index, width: tileWidthAt(size, 'entries', index) }));
  }
  await log.close();
}

await fillDatabase();
await writeMirror(join(folder, 'mirror'));
report({});
