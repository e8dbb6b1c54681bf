/** The power is cut after each step in turn, and of what was not synced by then something or nothing survives. */

import { closedBase, fullBase, workOn, type Base } from './bases.ts';
import { BATCHES, LONG_BATCHES } from './kill-rows.ts';
import { changes, LOSSES, LossyDisk, writeFolder, type Loss } from './lossy-disk.ts';
import { COMES_BACK, evenly, type Point, type Row, type Workshop } from './matrix.ts';
import { recordSteps, type Step } from './strace.ts';
import { readEvents } from './work.ts';

/** Of a thousand pages that are moved one after the other. */
const MOST_OF_MOVING = 60;

export const POWER_ROWS: readonly Row[] = LOSSES.flatMap((loss) => [
  powerRow(`power cut while entries are appended: ${loss}`, loss, closedBase, BATCHES),
  powerRow(
    `power cut while the write-ahead log is moved: ${loss}`,
    loss,
    fullBase,
    LONG_BATCHES,
    MOST_OF_MOVING,
  ),
]);

function powerRow(
  fault: string,
  loss: Loss,
  makeBase: (workshop: Workshop) => Promise<Base>,
  batches: readonly (readonly string[])[],
  most = Number.POSITIVE_INFINITY,
): Row {
  return {
    fault,
    expected: [COMES_BACK],
    points: async (workshop) => {
      const base = await makeBase(workshop);
      const steps = await workshop.once(`recorded-${makeBase.name}`, async (place) =>
        recordSteps(await workOn(base, place, { batches })),
      );
      const ends = [...steps.keys()].filter((i) => changes(loss, steps[i] as Step));
      return evenly(ends, most).map((i) => powerPoint(base, steps.slice(0, i + 1), loss, batches.flat()));
    },
  };
}

function powerPoint(base: Base, steps: readonly Step[], loss: Loss, names: readonly string[]): Point {
  return {
    name: `after step ${steps.length} (${steps.at(-1)?.does ?? ''})`,
    strike: async (folder) => {
      const history = base.history.clone();
      const disk = await LossyDisk.from(base.folder ?? folder);
      for (const step of steps) {
        disk.apply(step);
        if (step.does === 'say') history.take(readEvents(step.text));
      }
      await writeFolder(folder, disk.after(loss));
      return await history.reopen(folder, names, undefined);
    },
  };
}
