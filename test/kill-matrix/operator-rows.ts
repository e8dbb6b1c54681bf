/** What operators do to a log: an old backup is put back, a file is lost, a second server is started, a clock is set. */

import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { isRefusal } from '../../attestation/core/refusal.ts';
import { createReleaseLog, openReleaseLog } from '../../src/log/log-folder.ts';
import type { ReleaseLog } from '../../src/log/release-log.ts';
import { demand, History, type Recovery } from './history.ts';
import { COMES_BACK, type Point, type Row } from './matrix.ts';
import { entryOf, limits, watchedIdentity, witnessesAt, type WitnessAddress } from './work.ts';

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] as const;
const DAY_SECONDS = 86_400;

export const OPERATOR_ROWS: readonly Row[] = [
  backupRow('an older database is put back', ['log-rolled-back'], []),
  backupRow(
    'an older database is put back, the checkpoint is gone',
    ['log-checkpoint-missing'],
    ['checkpoint'],
  ),
  backupRow('the database is gone', ['log-missing'], ['log.sqlite', 'log.sqlite-wal', 'log.sqlite-shm']),
  copyRow('an older copy of everything is put back, under a witness', (log, backup) =>
    cp(backup, log, { recursive: true }),
  ),
  copyRow('the log is lost and made anew, under a witness', (log) => remake(log)),
  {
    fault: 'a second writer beside the first',
    expected: ['log-locked'],
    points: () => Promise.resolve(NAMES.map((_, i) => secondWriterPoint(i, false))),
  },
  {
    fault: 'a second writer after the lock was deleted',
    expected: [COMES_BACK],
    points: () => Promise.resolve(NAMES.map((_, i) => secondWriterPoint(i, true))),
  },
  clockRow('the clock of a witness is set back', -DAY_SECONDS),
  clockRow('the clock of a witness is set forward', DAY_SECONDS),
];

/** A log in this process. Whoever stops it leaves its files as they are. */
class Writer implements AsyncDisposable {
  readonly log: ReleaseLog;
  private readonly history: History;

  private constructor(log: ReleaseLog, history: History) {
    this.log = log;
    this.history = history;
  }

  static async start(folder: string, history: History, witness?: WitnessAddress): Promise<Writer> {
    const identity = watchedIdentity((text) => {
      history.takeSigned(text);
    });
    const witnesses = witness === undefined ? undefined : witnessesAt(witness);
    return new Writer(await openReleaseLog(folder, identity, { limits, witnesses }), history);
  }

  async append(name: string): Promise<void> {
    const { index, proof } = await this.log.append(entryOf(name), { idempotencyKey: name });
    this.history.takeAcknowledged(name, { index, proof });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.log.close();
  }
}

async function createLog(folder: string, history: History): Promise<string> {
  const log = join(folder, 'log');
  await mkdir(log);
  const identity = watchedIdentity((text) => {
    history.takeSigned(text);
  });
  await (await createReleaseLog(log, identity, limits)).close();
  return log;
}

/** @param lost files that nobody has any more; without the database in them, an older one is put back */
function backupRow(fault: string, expected: readonly string[], lost: readonly string[]): Row {
  const restores = !lost.includes('log.sqlite');
  const strike = async (folder: string, size: number): Promise<Recovery> => {
    const history = new History();
    const log = await createLog(folder, history);
    const backup = join(folder, 'backup');
    {
      await using writer = await Writer.start(log, history);
      for (const [i, name] of NAMES.entries()) {
        if (i === size) await cp(log, backup, { recursive: true });
        await writer.append(name);
      }
    }
    if (restores) await restore(log, backup);
    for (const name of lost) await rm(join(log, name), { force: true });
    return await history.reopen(log, NAMES, undefined);
  };
  return {
    fault,
    expected,
    points: () => {
      const sizes = [...NAMES.keys()].filter((size) => restores || size === 0);
      return Promise.resolve(
        sizes.map((size) => ({
          name: `of ${size} entries`,
          strike: (folder: string) => strike(folder, size),
        })),
      );
    },
  };
}

/** A log of the same key and origin, as if there had never been one. */
async function remake(log: string): Promise<void> {
  await mkdir(log);
  const identity = watchedIdentity(() => undefined);
  await (await createReleaseLog(log, identity, limits)).close();
}

/** Nothing on this machine tells what was signed since: the witness does. */
function copyRow(fault: string, replace: (log: string, backup: string) => Promise<void>): Row {
  return {
    fault,
    expected: ['log-not-as-witnessed'],
    points: ({ witnesses }) =>
      Promise.resolve(
        NAMES.map((_, size) => ({
          name: `of ${size} entries`,
          strike: async (folder) => {
            const witness = witnesses.add();
            const history = new History();
            const log = await createLog(folder, history);
            const backup = join(folder, 'backup');
            {
              await using writer = await Writer.start(log, history, witness.address);
              for (const [i, name] of NAMES.entries()) {
                if (i === size) await cp(log, backup, { recursive: true });
                await writer.append(name);
              }
            }
            await rm(log, { recursive: true });
            await replace(log, backup);
            return await history.reopen(log, ['x'], witness);
          },
        })),
      ),
  };
}

/** Puts a database back, and leaves the checkpoint beside it as it is. */
async function restore(log: string, backup: string): Promise<void> {
  for (const name of ['log.sqlite', 'log.sqlite-wal', 'log.sqlite-shm']) {
    await rm(join(log, name), { force: true });
    await cp(join(backup, name), join(log, name), { recursive: true }).catch(() => undefined);
  }
}

function secondWriterPoint(before: number, deletesLock: boolean): Point {
  return {
    name: `after ${before} entries`,
    strike: async (folder) => {
      const history = new History();
      const log = await createLog(folder, history);
      const refusals = new Set<string>();
      {
        await using first = await Writer.start(log, history);
        for (const name of NAMES.slice(0, before)) await first.append(name);
        if (deletesLock) await rm(join(log, 'log.sqlite.lock'));
        const code = await codeOf(async () => {
          await using second = await Writer.start(log, history);
          await Promise.all([
            second.append('x'),
            codeOf(() => first.append('y')).then((each) => refusals.add(each)),
          ]);
          refusals.add(await codeOf(() => first.append('z')));
          await second.append('w');
        });
        if (!deletesLock) return { refused: code };
        demand(code === 'nothing', `the second writer was refused by ${code}`);
      }
      refusals.delete('nothing');
      demand(
        [...refusals].every((code) => STALE.includes(code)),
        `the first was refused by ${[...refusals].join()}`,
      );
      demand(refusals.size > 0, 'the first writer was not refused');
      return await history.reopen(log, [...NAMES.slice(0, before), 'v', 'w', 'x'], undefined);
    },
  };
}

/** What a writer is refused by after another has extended its log. */
const STALE: readonly string[] = ['log-head-moved', 'log-stopped', 'log-storage-failed'];

async function codeOf(work: () => Promise<void>): Promise<string> {
  try {
    await work();
    return 'nothing';
  } catch (error) {
    if (isRefusal(error)) return error.refusal.code;
    throw error;
  }
}

function clockRow(fault: string, seconds: number): Row {
  return {
    fault,
    expected: [COMES_BACK],
    points: ({ witnesses }) =>
      Promise.resolve(
        NAMES.map((_, size) => ({
          name: `after ${size} entries`,
          strike: async (folder) => {
            let offset = 0;
            const witness = witnesses.add(() => Math.floor(Date.now() / 1000) + offset);
            const history = new History();
            const log = await createLog(folder, history);
            {
              await using writer = await Writer.start(log, history, witness.address);
              for (const [i, name] of NAMES.entries()) {
                if (i === size) offset = seconds;
                await writer.append(name);
              }
            }
            const { times } = witness;
            demand(
              times.every((time, i) => i === 0 || time >= (times[i - 1] ?? 0n)),
              'a cosignature is of an earlier time',
            );
            demand(times.length >= NAMES.length, `${times.length} cosignatures for ${NAMES.length} entries`);
            return await history.reopen(log, NAMES, witness);
          },
        })),
      ),
  };
}
