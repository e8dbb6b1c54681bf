/**
 * A log in a folder of the server's home: the database with its lock, or none where several servers share one in PostgreSQL, and always the
 * newest checkpoint that this server has seen.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { RefusalError } from '../../attestation/core/refusal.ts';
import { readFileBounded, writeFileDurably } from '../platform/files.ts';
import { openCheckpoint, type LogTrust } from './checkpoint.ts';
import { PublishedLog } from './published-log.ts';
import type { CheckpointKeeper, CheckpointWitnesses, LogIdentity } from './publication.ts';
import { ReleaseLog, type LogLimits } from './release-log.ts';
import { createPostgresStorage, openPostgresStorage } from './postgres-storage.ts';
import { createSqliteStorage, openSqliteStorage, readSqliteStorage } from './sqlite-storage.ts';
import { storageRefusals, type LogStorage } from './storage.ts';

const DATABASE = 'log.sqlite';
const CHECKPOINT = 'checkpoint';
const MAX_CHECKPOINT_BYTES = 1 << 20;
/** Everybody may read the log's checkpoint; the server alone writes it. */
const CHECKPOINT_MODE = 0o644;

/**
 * Creates an empty log and signs its first checkpoint, of size zero.
 *
 * @param folder exists already
 * @param database connection string of PostgreSQL; without it the log lies in the folder
 * @throws RefusalError `log-exists`, and those of `ReleaseLog.start`
 */
export async function createReleaseLog(
  folder: string,
  identity: LogIdentity,
  limits?: LogLimits,
  database?: string,
): Promise<ReleaseLog> {
  const keeper = fileKeeper(folder);
  // A checkpoint without a database is what is left of a lost log, not a place for a new one (TL-22).
  if ((await keeper.load()) !== undefined) {
    throw storageRefusals.error('log-exists', {
      field: join(folder, CHECKPOINT),
      expected: 'no checkpoint',
      found: 'a checkpoint',
    });
  }
  const storage =
    database === undefined
      ? createSqliteStorage(join(folder, DATABASE))
      : await createPostgresStorage(database);
  return await startOrClose(storage, keeper, identity, { limits });
}

export interface OpenedLogOptions {
  readonly limits?: LogLimits | undefined;
  /** Asked for cosignatures of each checkpoint; a log that asks nobody is published as it is. */
  readonly witnesses?: CheckpointWitnesses | undefined;
  /** Connection string of PostgreSQL; null for a log in the folder. */
  readonly database?: string | null;
}

/** Opens an existing log for writing. @throws RefusalError `log-missing`, `log-locked`, those of `ReleaseLog.start` */
export async function openReleaseLog(
  folder: string,
  identity: LogIdentity,
  { limits, witnesses, database = null }: OpenedLogOptions = {},
): Promise<ReleaseLog> {
  const storage =
    database === null ? openSqliteStorage(join(folder, DATABASE)) : await openPostgresStorage(database);
  return await startOrClose(storage, fileKeeper(folder), identity, { limits, witnesses });
}

async function startOrClose(
  storage: LogStorage,
  keeper: CheckpointKeeper,
  identity: LogIdentity,
  { limits, witnesses }: OpenedLogOptions,
): Promise<ReleaseLog> {
  try {
    return await ReleaseLog.start(storage, keeper, identity, limits, witnesses);
  } catch (error) {
    await storage.close();
    throw error;
  }
}

/** Whether a folder holds the database of a log; otherwise it may hold the static files of a mirror. */
export function holdsReleaseLog(folder: string): boolean {
  return existsSync(join(folder, DATABASE));
}

/** A log that is only read. Close it when done. */
export interface ReadableLog {
  readonly published: PublishedLog;
  close(): Promise<void>;
}

/**
 * Opens a log for reading, also while its server runs. Nothing but the checkpoint is verified yet; audit it.
 *
 * @param trust the reader's own, never taken from the folder
 * @throws RefusalError `log-missing`, and those of `openCheckpoint`
 */
export async function readReleaseLog(folder: string, trust: LogTrust): Promise<ReadableLog> {
  const storage = readSqliteStorage(join(folder, DATABASE));
  try {
    const note = await storage.newestCheckpoint();
    if (note === undefined) {
      throw storageRefusals.error('log-missing', {
        field: join(folder, DATABASE),
        expected: 'a signed checkpoint',
        found: 'none',
      });
    }
    const published = new PublishedLog(storage, await openCheckpoint(note, trust));
    return { published, close: () => storage.close() };
  } catch (error) {
    await storage.close();
    throw error;
  }
}

function fileKeeper(folder: string): CheckpointKeeper {
  const path = join(folder, CHECKPOINT);
  return {
    load: async () => {
      try {
        return fromUtf8(await readFileBounded(path, MAX_CHECKPOINT_BYTES), path);
      } catch (error) {
        if (error instanceof RefusalError && (error as RefusalError).refusal.code === 'file-not-found')
          return undefined;
        throw error;
      }
    },
    save: async (note) => {
      await writeFileDurably(path, toUtf8(note), CHECKPOINT_MODE);
    },
  };
}
