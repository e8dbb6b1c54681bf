/** One row of the battery: a rule of docs/spec/device-class.md, and how to try whether a class keeps it. */

import type { Probe } from './probe.ts';

export interface BatteryRow {
  /** Number of the rule, for example `DC-3`. */
  readonly rule: string;
  readonly title: string;
  /** What comes out where the rule is kept, in words. */
  readonly expected: string;
  /** @returns why the class cannot have the case, or nothing once every case was tried */
  run(probe: Probe): Promise<{ readonly notApplicable: string } | undefined>;
}

/** A row that every class has. */
export function row(
  rule: string,
  title: string,
  expected: string,
  attempt: (probe: Probe) => Promise<void>,
): BatteryRow {
  const run = async (probe: Probe): Promise<undefined> => {
    await attempt(probe);
    return undefined;
  };
  return { rule, title, expected, run };
}
