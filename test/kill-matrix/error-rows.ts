/** One call fails, as on a disk that is full or broken; the log says so, stops, and is opened again. */

import { closedBase, workOn, type Base } from './bases.ts';
import { demand } from './history.ts';
import { BATCHES, callsOf } from './kill-rows.ts';
import { COMES_BACK, type Point, type Row, type Workshop } from './matrix.ts';
import { runTraced, type Call, type Injection } from './strace.ts';

type Failure = Pick<Extract<Injection, { does: 'fail' }>, 'error' | 'onwards'>;

const WITNESSED = { batches: BATCHES, witnessed: true };

export const ERROR_ROWS: readonly Row[] = [
  errorRow('a sync fails (EIO)', /^fsync$/, { error: 'EIO', onwards: false }),
  errorRow('a write fails (EIO)', /^(?:pwrite64|write|rename)$/, { error: 'EIO', onwards: false }),
  errorRow('the disk is full for one write (ENOSPC)', /^(?:pwrite64|write)$/, {
    error: 'ENOSPC',
    onwards: false,
  }),
  errorRow('the disk is full from a write on (ENOSPC)', /^pwrite64$/, { error: 'ENOSPC', onwards: true }),
];

function errorRow(fault: string, names: RegExp, failure: Failure): Row {
  return {
    fault,
    expected: [COMES_BACK],
    points: async (workshop) => {
      const base = await closedBase(workshop);
      const calls = await callsOf('error', base, WITNESSED, workshop);
      return calls
        .filter(({ name }) => names.test(name))
        .map((call) => errorPoint(call, failure, base, workshop));
    },
  };
}

function errorPoint(call: Call, failure: Failure, base: Base, { witnesses }: Workshop): Point {
  return {
    name: `${call.name} ${call.count} (${call.file})`,
    strike: async (folder) => {
      const witness = witnesses.add();
      const history = base.history.clone();
      const work = await workOn(base, folder, { batches: BATCHES, witness: witness.address });
      const { signal, events, errors } = await runTraced(work, { call, does: 'fail', ...failure });
      demand(signal === null && errors === '', `the process ended by ${signal ?? errors}`);
      history.take(events);
      return await history.reopen(work.folder, BATCHES.flat(), witness);
    },
  };
}
