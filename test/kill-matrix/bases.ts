/** Logs from which work goes on. */

import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { demand, History } from './history.ts';
import type { Workshop } from './matrix.ts';
import { runTraced, type Call } from './strace.ts';
import type { Work } from './work.ts';

export interface Base {
  /** Undefined where the work itself creates the log. */
  readonly folder: string | undefined;
  readonly history: History;
}

export const NO_BASE: Base = { folder: undefined, history: new History() };

/** Five entries, closed in good order: the next process begins a new write-ahead log. */
export function closedBase(workshop: Workshop): Promise<Base> {
  return workshop.once('base-closed', async (folder) => {
    const work = { folder, creates: true, batches: [['1'], ['2', '3'], ['4'], ['5']] };
    return baseOf(folder, (await runTraced(work)).events, 5);
  });
}

/** SQLite moves a write-ahead log of 1000 pages into the database: of these entries, the first two of the next work. */
const NEARLY_FULL = 43;

/** Killed when its write-ahead log was nearly full: the next process recovers it, and moves it into the database. */
export function fullBase(workshop: Workshop): Promise<Base> {
  return workshop.once('base-full', makeFullBase);
}

async function makeFullBase(parent: string): Promise<Base> {
  const work = {
    creates: true,
    batches: Array.from({ length: NEARLY_FULL }, (_, i) => [`${i + 1}*60000`]),
  };
  const counted = join(parent, 'counted');
  await mkdir(counted);
  const { calls } = await runTraced({ ...work, folder: counted });
  const folder = join(parent, 'full');
  await mkdir(folder);
  const { events } = await runTraced({ ...work, folder }, { call: firstOfClosing(calls), does: 'kill' });
  return baseOf(folder, events, NEARLY_FULL);
}

/** The call by which a log that is closed begins to move its write-ahead log. */
function firstOfClosing(calls: readonly Call[]): Call {
  const first = calls.findLast(({ name, file }) => name === 'fsync' && file === 'log.sqlite-wal');
  demand(first !== undefined, 'no write-ahead log was synced');
  return first;
}

/** Five entries, killed before its write-ahead log was moved: all that it acknowledged stands there alone. */
export async function killedBase(workshop: Workshop): Promise<Base> {
  const closed = await closedBase(workshop);
  return await workshop.once('base-killed', (folder) => makeKilledBase(closed, folder));
}

async function makeKilledBase(closed: Base, parent: string): Promise<Base> {
  const work = { batches: [['6'], ['7'], ['8', '9']] };
  const [counted, killed] = [join(parent, 'counted'), join(parent, 'killed')];
  await mkdir(counted);
  await mkdir(killed);
  const { calls } = await runTraced(await workOn(closed, counted, work));
  const going = await workOn(closed, killed, work);
  const { events } = await runTraced(going, { call: firstOfClosing(calls), does: 'kill' });
  const history = closed.history.clone();
  history.take(events);
  demand(history.size === 9, `the log that was killed has ${history.size} entries`);
  return { folder: going.folder, history };
}

function baseOf(folder: string, events: Parameters<History['take']>[0], size: number): Base {
  const history = new History();
  history.take(events);
  demand(history.size === size, `the log that work begins with has ${history.size} entries`);
  return { folder, history };
}

/** A log of its own for one point. @returns the work that goes on with it */
export async function workOn(
  base: Base,
  folder: string,
  work: Omit<Work, 'folder' | 'creates'>,
): Promise<Work> {
  const log = join(folder, 'log');
  if (base.folder === undefined) await mkdir(log);
  else await cp(base.folder, log, { recursive: true });
  return { ...work, folder: log, creates: base.folder === undefined };
}
