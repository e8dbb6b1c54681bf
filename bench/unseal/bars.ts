/** What the figures are held against (docs/benchmarks.md). Only ratios of one run: absolute rates depend on the machine. */

import type { Figures, MeasuredRow } from './row.ts';

const LEAST_OF_LIMIT = 0.95;
const LEAST_OF_AGE = 9;
const MOST_BESIDE_BYTES = 64 * 1024 * 1024;
const LEAST_OF_UNSEALING = 0.8;

export interface Bar {
  readonly what: string;
  /** Undefined where something was not measured. */
  readonly passed: boolean | undefined;
  readonly found: string;
}

type Find = (name: string) => Figures | undefined;

/** @param big the row at a larger size, where one was measured */
export function judge(rows: readonly MeasuredRow[], big?: MeasuredRow): readonly Bar[] {
  const find: Find = (name) => rows.find((row) => row.name === name)?.figures;
  return [
    limitBar(rows, find),
    ageBar(find),
    memoryBar(big === undefined ? rows : [...rows, big]),
    sealBar(find),
  ];
}

function isCopy({ name }: MeasuredRow): boolean {
  return name.startsWith('copy-') || name === 'cp' || name === 'cp-ordinary';
}

/** The fastest plain copy into the same kind of pages. */
export function bestCopy(rows: readonly MeasuredRow[], pages: Figures['pages']): MeasuredRow | undefined {
  return rows
    .filter((row) => isCopy(row) && row.figures?.pages === pages)
    .toSorted((left, right) => medianOf(right) - medianOf(left))[0];
}

function medianOf({ figures }: MeasuredRow): number {
  return figures?.rate.median ?? 0;
}

function limitBar(rows: readonly MeasuredRow[], find: Find): Bar {
  const what = `unseal, all cores: at least ${LEAST_OF_LIMIT} of the best plain copy into the same memory, or of AES-256-GCM on all cores where that is lower`;
  const [ours, cipher] = [find('unseal-all'), find('cipher-all')];
  const copy = ours === undefined ? undefined : bestCopy(rows, ours.pages);
  if (ours === undefined || cipher === undefined || copy === undefined) return notMeasured(what);
  const isCipher = cipher.rate.median < medianOf(copy);
  const limit = isCipher ? cipher.rate.median : medianOf(copy);
  return ratioBar(
    what,
    ours.rate.median / limit,
    LEAST_OF_LIMIT,
    `of ${isCipher ? 'cipher-all' : copy.name}`,
  );
}

function ageBar(find: Find): Bar {
  const what = `unseal, all cores: at least ${LEAST_OF_AGE} × age -d`;
  const [ours, age] = [find('unseal-all'), find('age')];
  if (ours === undefined || age === undefined) return notMeasured(what);
  const whole = ours.processRate === undefined ? 0 : ours.processRate.median / age.rate.median;
  const beside = `× age; ${whole.toFixed(2)} with the start and end of the process`;
  return ratioBar(what, ours.rate.median / age.rate.median, LEAST_OF_AGE, beside);
}

/** Of every row that opens, at every size: what opening adds to a process that has loaded its program, and its result. */
function memoryBar(rows: readonly MeasuredRow[]): Bar {
  const what = `unseal: adds at most ${mebibytes(MOST_BESIDE_BYTES)} MiB of memory beside the result, whatever the size`;
  const measured = rows.flatMap(({ name, figures }) =>
    name.startsWith('unseal') && figures?.memoryBytes !== undefined
      ? [{ name, added: figures.memoryBytes - (figures.beforeBytes ?? 0), whole: figures.memoryBytes }]
      : [],
  );
  if (measured.length === 0) return notMeasured(what);
  const { name, added, whole } = measured.reduce((most, row) => (row.added > most.added ? row : most));
  return {
    what,
    passed: added <= MOST_BESIDE_BYTES,
    found: `${mebibytes(added)} MiB (${name}), ${mebibytes(whole)} with Node.js and the program`,
  };
}

function sealBar(find: Find): Bar {
  const what = `seal 8 files: at least ${LEAST_OF_UNSEALING} of unseal, all cores`;
  const [seal, unseal] = [find('seal'), find('unseal-all')];
  if (seal === undefined || unseal === undefined) return notMeasured(what);
  return ratioBar(what, seal.rate.median / unseal.rate.median, LEAST_OF_UNSEALING, 'of unsealing');
}

function ratioBar(what: string, ratio: number, least: number, unit: string): Bar {
  return { what, passed: ratio >= least, found: `${ratio.toFixed(2)} ${unit}` };
}

function notMeasured(what: string): Bar {
  return { what, passed: undefined, found: 'not measured' };
}

export function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
