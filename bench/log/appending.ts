/** How fast entries are logged, and how long each waits for its proof. */

import { existsSync } from 'node:fs';
import { cp, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { createReleaseLog } from '../../src/log/log-folder.ts';
import { runModule } from '../support/program.ts';
import type { AppendReport, AppendTask } from './append-process.ts';
import { newLogKey, ORIGIN, POLL_MILLISECONDS, readyFile, signerOf } from './work.ts';

const PROCESS = new URL('./append-process.ts', import.meta.url);
const ENTRY_BYTES = 300;
const PAGE_BYTES = 4096;

/** One way of appending. */
export interface Manner {
  readonly storage: 'SQLite' | 'PostgreSQL';
  readonly writers: number;
  /** Of each writer. */
  readonly submitters: number;
  readonly witnessed: boolean;
}

export interface Appending extends Manner {
  readonly perSecond: number;
  readonly p50Milliseconds: number;
  readonly p99Milliseconds: number;
}

export interface Conditions {
  /** Exists; its disk is the one that is measured. */
  readonly folder: string;
  readonly seconds: number;
  readonly signal: AbortSignal;
  /** Makes an empty database of PostgreSQL; undefined where there is no server. */
  readonly createDatabase: (() => Promise<string>) | undefined;
  /** Begins a witness of a log. @param verifierKey of the log */
  readonly addWitness: (privateKey: string) => NonNullable<AppendTask['witness']>;
}

/** A log of its own for each measurement. */
export async function measureAppending(
  manner: Manner,
  name: string,
  conditions: Conditions,
): Promise<Appending> {
  const { seconds, signal } = conditions;
  const privateKey = newLogKey();
  const { folders, database } = await createLog(
    manner,
    join(conditions.folder, name),
    privateKey,
    conditions,
  );
  const witness = manner.witnessed ? conditions.addWitness(privateKey) : undefined;
  const gate = join(conditions.folder, name, 'gate');
  const common = { privateKey, database, witness, seconds, gate, entryBytes: ENTRY_BYTES };
  const reports = Promise.all(
    folders.map(async (folder, writer) => {
      const task: AppendTask = { ...common, folder, writer, submitters: manner.submitters };
      const { result } = await runModule(PROCESS, task, { signal });
      return (result as AppendReport).milliseconds;
    }),
  );
  await Promise.race([reports, openGate(gate, folders)]);
  const sorted = (await reports).flat().toSorted((left, right) => left - right);
  return {
    ...manner,
    perSecond: sorted.length / seconds,
    p50Milliseconds: percentile(sorted, 0.5),
    p99Milliseconds: percentile(sorted, 0.99),
  };
}

async function openGate(gate: string, folders: readonly string[]): Promise<void> {
  while (!folders.every((folder) => existsSync(readyFile(folder)))) await delay(POLL_MILLISECONDS);
  await writeFile(gate, '');
}

/** Each writer keeps the checkpoint in a folder of its own. */
async function createLog(
  { storage, writers }: Manner,
  folder: string,
  privateKey: string,
  { createDatabase }: Conditions,
): Promise<{ readonly folders: readonly string[]; readonly database: string | null }> {
  const folders = Array.from({ length: writers }, (_, i) => join(folder, `writer-${i}`));
  const [first = folder, ...others] = folders;
  await mkdir(first, { recursive: true });
  const database = storage === 'SQLite' ? null : ((await createDatabase?.()) ?? null);
  const identity = { origin: ORIGIN, signers: [signerOf(privateKey)] };
  await (await createReleaseLog(first, identity, undefined, database ?? undefined)).close();
  for (const other of others) await cp(first, other, { recursive: true });
  return { folders, database };
}

function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** How often a second this disk makes a page durable: what every append waits for, several times. */
export async function measureSyncs(folder: string, seconds: number): Promise<number> {
  const file = await open(join(folder, 'synced'), 'w');
  try {
    const page = new Uint8Array(PAGE_BYTES).fill(1);
    const startedAt = performance.now();
    let syncs = 0;
    for (; performance.now() - startedAt < seconds * 1000; syncs += 1) {
      await file.write(page, 0, PAGE_BYTES, syncs * PAGE_BYTES);
      await file.datasync();
    }
    return syncs / ((performance.now() - startedAt) / 1000);
  } finally {
    await file.close();
  }
}
