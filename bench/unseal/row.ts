/** What a row of the table is, before it was measured and after. */

import type { Spread } from '../support/statistics.ts';

/** Of which pages the memory is that is written to. Fresh ordinary pages cost more than any cipher. */
export type Pages = 'huge' | 'ordinary' | 'none';

/** One run. Rates are in bytes a second. */
export interface Measurement {
  readonly rate: number;
  /** The same bytes over the time from the start of the process to its end. */
  readonly processRate?: number;
  /** The most that the process held beside its result, in bytes. */
  readonly memoryBytes?: number;
  /** What of that it held before the work began: the program and its libraries. */
  readonly beforeBytes?: number;
  readonly pages: Pages;
  readonly note?: string;
}

export interface Row {
  readonly name: string;
  readonly label: string;
  readonly group: Group;
  /** Makes what the row reads, once. @returns the files that have to be in the page cache */
  readonly prepare: () => Promise<readonly string[]>;
  /** @param checks compare the output with the plaintext, byte for byte; nobody looks at the time then */
  readonly run: (checks: boolean) => Promise<Measurement>;
}

/** A row that cannot be measured on this machine. */
export interface MissingRow {
  readonly name: string;
  readonly label: string;
  readonly group: Group;
  /** What is missing and how to get it. */
  readonly missing: string;
}

export const GROUPS = ['limits of this machine', 'weightgate', 'others'] as const;
export type Group = (typeof GROUPS)[number];

export interface MeasuredRow {
  readonly name: string;
  readonly label: string;
  readonly group: Group;
  /** Why there is no figure. */
  readonly missing?: string;
  readonly figures?: Figures;
}

/** Of all runs of a row. */
export interface Figures {
  readonly runs: readonly Measurement[];
  readonly rate: Spread;
  readonly processRate?: Spread;
  /** The most of all runs. */
  readonly memoryBytes?: number;
  /** Of that run. */
  readonly beforeBytes?: number;
  readonly pages: Pages;
  readonly note?: string;
}
