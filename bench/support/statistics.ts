/** Figures of repeated runs. */

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly greatest: number;
}

/** @param values at least one */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((left, right) => left - right);
  const [least] = sorted;
  const greatest = sorted.at(-1);
  if (least === undefined || greatest === undefined) throw new RangeError('no values');
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? least;
  const upper = sorted[Math.ceil((sorted.length - 1) / 2)] ?? greatest;
  return { median: (lower + upper) / 2, least, greatest };
}
