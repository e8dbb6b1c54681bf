/**
 * The log in PostgreSQL, for several servers that write to it at the same time (docs/spec/release-log.md, section 8).
 *
 * An index is given out in one transaction that holds the row of the head: no sequence, because numbers of a sequence become
 * visible in another order than they were drawn. Turns are advisory locks: they let writers queue, and what is right does not rest on them.
 */

import { randomUUID } from 'node:crypto';

import { RefusalError } from '../../attestation/core/refusal.ts';
import type { TreeHead } from './checkpoint-body.ts';
import { EMPTY_ROOT } from './merkle.ts';
import { PostgresConnection, sqlStateOf, type Query } from './postgres-connection.ts';
import { CREATE_SCHEMA, DUPLICATE_SCHEMA, POSTGRES_SCHEMA_VERSION, SQL } from './postgres-schema.ts';
import {
  storageConflictRefusals,
  storageRefusals,
  type LogStorage,
  type StoredBatch,
  type WriterTurn,
} from './storage.ts';
import type { NodeId } from './tree.ts';

/** First key of the advisory locks, which all programs of a database share. */
const LOCK_CLASS = 0x5747_4c47;
const TURNS: Readonly<Record<WriterTurn, number>> = { extend: 1, publish: 2 };

/** What a commit must have survived, and what names and notes need. */
const REQUIRED_SETTINGS = [
  { name: 'synchronous_commit', refused: ['off'], expected: 'anything but off' },
  { name: 'fsync', refused: ['off'], expected: 'on' },
  { name: 'full_page_writes', refused: ['off'], expected: 'on' },
] as const;

type SettingsRow = Record<(typeof REQUIRED_SETTINGS)[number]['name'] | 'server_encoding', string>;

interface HeadRow {
  readonly size: string;
  readonly root: Uint8Array;
  readonly epoch: string;
}

/**
 * Creates the tables of a new, empty log in a database that has none, and opens it.
 *
 * @throws RefusalError `log-exists`, `log-connection`, `log-storage-unsafe`, `log-storage-failed`
 */
export async function createPostgresStorage(connection: string): Promise<LogStorage> {
  return await openChecked(connection, async (database) => {
    try {
      await database.write(async (query) => {
        await query(CREATE_SCHEMA);
        await query(SQL.insertFormat, [POSTGRES_SCHEMA_VERSION]);
        await query(SQL.insertHead, [Buffer.from(EMPTY_ROOT)]);
      });
    } catch (error) {
      if (!(error instanceof RefusalError) || sqlStateOf(error.cause) !== DUPLICATE_SCHEMA) throw error;
      const facts = { field: database.label, expected: 'no log', found: 'a log' };
      throw storageRefusals.error('log-exists', facts);
    }
  });
}

/**
 * Opens the log in a database; other servers may have it open too.
 *
 * @throws RefusalError `log-missing`, `log-storage-version`, `log-connection`, `log-storage-unsafe`, `log-storage-failed`
 */
export async function openPostgresStorage(connection: string): Promise<LogStorage> {
  return await openChecked(connection, checkVersion);
}

/**
 * Closes a log to all servers that have it open: each stops at its next write, and checks the log before it writes again. For
 * after the database was restored or failed over, and to shut out a server that cannot be reached.
 *
 * @throws RefusalError as `openPostgresStorage`
 */
export async function fencePostgresLog(connection: string): Promise<void> {
  const database = new PostgresConnection(connection);
  try {
    await checkVersion(database);
    await database.write(async (query) => {
      await query(SQL.fence);
    });
  } finally {
    await database.close();
  }
}

async function openChecked(
  connection: string,
  prepare: (database: PostgresConnection) => Promise<void>,
): Promise<LogStorage> {
  const database = new PostgresConnection(connection);
  try {
    await checkSettings(database);
    await prepare(database);
    const [head] = await database.read<HeadRow>(SQL.head);
    if (head === undefined) refuseDamaged('head', 'nothing');
    return new PostgresStorage(database, BigInt(head.epoch));
  } catch (error) {
    await database.close();
    throw error;
  }
}

async function checkSettings(database: PostgresConnection): Promise<void> {
  const [settings] = await database.read<SettingsRow>(SQL.settings);
  for (const { name, refused, expected } of REQUIRED_SETTINGS) {
    const found = settings?.[name] ?? 'nothing';
    if ((refused as readonly string[]).includes(found)) refuseUnsafe(name, expected, found);
  }
  const encoding = settings?.server_encoding ?? 'nothing';
  if (encoding !== 'UTF8') refuseUnsafe('server_encoding', 'UTF8', encoding);
}

async function checkVersion(database: PostgresConnection): Promise<void> {
  const [found] = await database.read<{ isThere: boolean }>(SQL.isThere);
  if (found?.isThere !== true) {
    const facts = { field: database.label, expected: 'the schema of a log', found: 'none' };
    throw storageRefusals.error('log-missing', facts);
  }
  const [format] = await database.read<{ version: number }>(SQL.format);
  if (format?.version === POSTGRES_SCHEMA_VERSION) return;
  throw storageRefusals.error('log-storage-version', {
    field: database.label,
    expected: `a log of version ${POSTGRES_SCHEMA_VERSION}`,
    found: `version ${format?.version ?? 'none'}`,
  });
}

class PostgresStorage implements LogStorage {
  readonly shared = true;
  private readonly database: PostgresConnection;
  /** As the log was opened; another one since then means that this writer was shut out. */
  private readonly epoch: bigint;

  constructor(database: PostgresConnection, epoch: bigint) {
    this.database = database;
    this.epoch = epoch;
  }

  async head(): Promise<TreeHead> {
    const [row] = await this.database.read<HeadRow>(SQL.head);
    return this.checkedHead(row);
  }

  async inTurn<T>(turn: WriterTurn, work: () => Promise<T>): Promise<T> {
    const begin = async (query: Query): Promise<void> => {
      await query(SQL.takeTurn, [LOCK_CLASS, TURNS[turn]]);
      const [row] = await query<HeadRow>(SQL.head);
      this.checkedHead(row);
    };
    return await this.database.hold(begin, work);
  }

  async append(batch: StoredBatch): Promise<void> {
    // Names the batch on every connection on which it is tried, so that it is found when it was committed and nobody said so.
    const name = randomUUID();
    await this.database.write(async (query) => {
      const [row] = await query<HeadRow & { synchronous: string }>(SQL.lockHead);
      const { size } = this.checkedHead(row);
      if (row?.synchronous === 'off') refuseUnsafe('synchronous_commit', 'anything but off', 'off');
      if (size !== batch.sizeBefore) {
        const written = await query(SQL.findBatch, [batch.sizeBefore.toString(), name]);
        if (written.length > 0) return;
        refuseMovedHead(batch.sizeBefore, size);
      }
      await this.insert(query, batch, name);
    });
  }

  async nodes(ids: readonly NodeId[]): Promise<readonly Uint8Array[]> {
    if (ids.length === 0) return [];
    const values = [ids.map(({ level }) => level), ids.map(({ index }) => index.toString())];
    const rows = await this.database.read<{ hash: Buffer }>(SQL.nodes, values);
    if (rows.length !== ids.length) refuseDamaged(`${ids.length} nodes`, `${rows.length} of them`);
    return rows.map(({ hash }) => plainBytes(hash));
  }

  async entries(start: bigint, end: bigint): Promise<readonly Uint8Array[]> {
    const rows = await this.database.read<{ entry: Buffer }>(SQL.entries, [start.toString(), end.toString()]);
    if (BigInt(rows.length) !== end - start) {
      refuseDamaged(`entries ${start} to ${end}`, `${rows.length} entries`);
    }
    return rows.map(({ entry }) => plainBytes(entry));
  }

  async indexesOf(idempotencyKeys: readonly string[]): Promise<Map<string, bigint>> {
    const rows = await this.database.read<{ key: string; position: string }>(SQL.indexes, [idempotencyKeys]);
    return new Map(rows.map(({ key, position }) => [key, BigInt(position)]));
  }

  async saveCheckpoint(size: bigint, note: string): Promise<void> {
    await this.database.write(async (query) => {
      const [row] = await query<HeadRow>(SQL.head);
      this.checkedHead(row);
      await query(SQL.saveCheckpoint, [size.toString(), note]);
    });
  }

  async newestCheckpoint(): Promise<string | undefined> {
    const [row] = await this.database.read<{ note: string }>(SQL.newestCheckpoint);
    return row?.note;
  }

  async close(): Promise<void> {
    await this.database.close();
  }

  private async insert(query: Query, batch: StoredBatch, name: string): Promise<void> {
    const { sizeBefore, entries, nodes, head } = batch;
    await query(SQL.insertEntries, [
      sizeBefore.toString(),
      entries.map(({ entry }) => Buffer.from(entry)),
      entries.map(({ idempotencyKey }) => idempotencyKey ?? null),
      name,
    ]);
    await query(SQL.insertNodes, [
      nodes.map(({ level }) => level),
      nodes.map(({ index }) => index.toString()),
      nodes.map(({ hash }) => Buffer.from(hash)),
    ]);
    await query(SQL.moveHead, [
      head.size.toString(),
      Buffer.from(head.root),
      sizeBefore.toString(),
      this.epoch.toString(),
    ]);
  }

  private checkedHead(row: HeadRow | undefined): TreeHead {
    if (row === undefined) refuseDamaged('head', 'nothing');
    if (BigInt(row.epoch) !== this.epoch) {
      throw storageConflictRefusals.error('log-fenced', {
        field: 'head.epoch',
        expected: this.epoch.toString(),
        found: row.epoch,
      });
    }
    return { size: BigInt(row.size), root: plainBytes(row.root) };
  }
}

/** What the driver returns is a Buffer; the interface promises plain bytes, which compare as such. */
function plainBytes(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes);
}

function refuseMovedHead(expected: bigint, found: bigint): never {
  throw storageConflictRefusals.error('log-head-moved', {
    field: 'head.size',
    expected: expected.toString(),
    found: found.toString(),
  });
}

function refuseUnsafe(field: string, expected: string, found: string): never {
  throw storageRefusals.error('log-storage-unsafe', { field, expected, found });
}

function refuseDamaged(field: string, found: string): never {
  throw storageRefusals.error('log-damaged', { field, expected: 'what the head says', found });
}
