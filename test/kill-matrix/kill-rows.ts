/** The process is killed before each call in turn by which an append changes the disk. */

import { createReleaseLog } from '../../src/log/log-folder.ts';
import { closedBase, fullBase, NO_BASE, workOn, type Base } from './bases.ts';
import { demand, type Recovery } from './history.ts';
import { COMES_BACK, type Point, type Row, type Workshop } from './matrix.ts';
import { runTraced, type Call } from './strace.ts';
import { limits, watchedIdentity } from './work.ts';

/** Entries one by one, and one batch of three: they end below, at and above a power of two. */
export const BATCHES: readonly (readonly string[])[] = [['a'], ['b'], ['c', 'd', 'e'], ['f']];
/** They fill a write-ahead log that was nearly full. */
export const LONG_BATCHES = [['a*60000'], ['b*60000'], ['c*60000']];

interface Setting {
  readonly base: (workshop: Workshop) => Promise<Base>;
  readonly batches: readonly (readonly string[])[];
  readonly witnessed: boolean;
}

const CREATION: Setting = { base: () => Promise.resolve(NO_BASE), batches: [['a']], witnessed: false };
const ALONE: Setting = { base: closedBase, batches: BATCHES, witnessed: false };
const WITNESSED: Setting = { base: closedBase, batches: BATCHES, witnessed: true };
const FULL: Setting = { base: fullBase, batches: LONG_BATCHES, witnessed: false };

export const KILL_ROWS: readonly Row[] = [
  killRow('kill -9 while a log is created', CREATION),
  killRow('kill -9 while entries are appended', ALONE),
  killRow('kill -9 while entries are appended and witnessed', WITNESSED),
  killRow('kill -9 while the write-ahead log is moved', FULL),
];

function killRow(fault: string, setting: Setting): Row {
  return {
    fault,
    expected: [COMES_BACK],
    points: async (workshop) => {
      const base = await setting.base(workshop);
      const calls = await callsOf(fault, base, setting, workshop);
      return calls.map((call) => killPoint(call, base, setting, workshop));
    },
  };
}

/** All that an undisturbed run does. */
export async function callsOf(
  name: string,
  base: Base,
  { batches, witnessed }: Omit<Setting, 'base'>,
  workshop: Workshop,
): Promise<readonly Call[]> {
  return await workshop.once(`undisturbed-${name}`, async (place) => {
    const witness = witnessed ? workshop.witnesses.add() : undefined;
    return (await runTraced(await workOn(base, place, { batches, witness: witness?.address }))).calls;
  });
}

function killPoint(call: Call, base: Base, { batches, witnessed }: Setting, { witnesses }: Workshop): Point {
  return {
    name: `before ${call.name} ${call.count} (${call.file})`,
    strike: async (folder) => {
      const witness = witnessed ? witnesses.add() : undefined;
      const history = base.history.clone();
      const work = await workOn(base, folder, { batches, witness: witness?.address });
      const { signal, events } = await runTraced(work, { call, does: 'kill' });
      demand(signal === 'SIGKILL', 'the process was not killed');
      history.take(events);
      const recover = (): Promise<Recovery> => history.reopen(work.folder, batches.flat(), witness);
      const recovery = await recover();
      if (base.folder !== undefined || history.size > 0 || 'milliseconds' in recovery) return recovery;
      // Nobody was promised anything yet: the operator gives the command once more.
      const identity = watchedIdentity((text) => {
        history.takeSigned(text);
      });
      await (await createReleaseLog(work.folder, identity, limits)).close();
      return await recover();
    },
  };
}
