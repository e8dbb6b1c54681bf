/**
 * The battery: the contract of device classes (docs/spec/device-class.md), tried on one class from outside. Pure: the
 * same class and fixture give the same report.
 */

import type { RefusalFamilyName } from '../core/refusal.ts';
import { evidenceRows } from './evidence-rows.ts';
import type { DeviceFixture } from './fixture.ts';
import { machineRows } from './machine-rows.ts';
import { Probe } from './probe.ts';
import type { Deviation } from './probe.ts';
import type { BatteryRow } from './row.ts';
import { closingRows, verifierRows } from './verifier-rows.ts';

/** Changes when a row is added or demands more: a report names what it was made by. */
export const BATTERY_VERSION = 1;

export const BATTERY: readonly BatteryRow[] = [
  ...verifierRows,
  ...evidenceRows,
  ...machineRows,
  ...closingRows,
];

export interface RowResult {
  readonly rule: string;
  readonly title: string;
  readonly outcome: 'passed' | 'failed' | 'not-applicable';
  readonly expected: string;
  /** Codes of the refusals that were seen, or what came out otherwise, or why there is no such case. */
  readonly found: string;
  /** How many cases were tried. */
  readonly cases: number;
  /** Refusal codes that were seen, sorted. */
  readonly codes: readonly string[];
  /** The first of what came out otherwise. */
  readonly deviations: readonly Deviation[];
}

const SHOWN_DEVIATIONS = 5;

/**
 * Runs one row after another.
 *
 * @param declared every refusal code that the class may use, with its family
 */
export async function runBattery(
  fixture: DeviceFixture,
  declared: ReadonlyMap<string, RefusalFamilyName>,
): Promise<readonly RowResult[]> {
  const results: RowResult[] = [];
  const seen = new Set<string>();
  for (const row of BATTERY) {
    const result = await runRow(row, fixture, declared, seen);
    for (const code of result.codes) seen.add(code);
    results.push(result);
  }
  return results;
}

async function runRow(
  row: BatteryRow,
  fixture: DeviceFixture,
  declared: ReadonlyMap<string, RefusalFamilyName>,
  seen: ReadonlySet<string>,
): Promise<RowResult> {
  const probe = new Probe(fixture, declared, seen);
  const { rule, title, expected } = row;
  const skipped = await attempt(row, probe);
  const head = { rule, title, expected, cases: probe.cases, codes: probe.seenCodes };
  if (skipped !== undefined) {
    return { ...head, outcome: 'not-applicable', found: skipped.notApplicable, deviations: [] };
  }
  const { deviating } = probe;
  const [first] = deviating;
  if (first === undefined) {
    return { ...head, outcome: 'passed', found: head.codes.join(', ') || expected, deviations: [] };
  }
  const more = deviating.length > 1 ? ` (and ${deviating.length - 1} more)` : '';
  const found = `${first.subject}: ${first.found}${more}`;
  return { ...head, outcome: 'failed', found, deviations: deviating.slice(0, SHOWN_DEVIATIONS) };
}

/** A fixture that cannot be worked with, such as one whose members are no base64, fails the row that needs it. */
async function attempt(row: BatteryRow, probe: Probe): ReturnType<BatteryRow['run']> {
  try {
    return await row.run(probe);
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    probe.demand('the row itself', false, 'a fixture and a class that it can be run with', found);
    return undefined;
  }
}
