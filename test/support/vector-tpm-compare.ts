/** Facts that a manifest states beside those that were found: which differ, and which were not judged and why. */

import { REMARK, Unjudged } from './vector-tpm-case.ts';
import type { Members } from './vector-tpm-case.ts';

export interface Comparison {
  /** Paths of the members that differ. A member that nobody here reads differs, too. */
  readonly differing: readonly string[];
  /** Paths of the members that were not judged, by the reason. */
  readonly unjudged: readonly string[];
  /** How many values were compared. */
  readonly compared: number;
}

/** Holds every stated member against what was found; what was found besides does not matter. */
export function compareMembers(stated: Members, found: Members): Comparison {
  const differing: string[] = [];
  const unjudged = new Map<string, string[]>();
  let compared = 0;
  const compare = (expected: unknown, actual: unknown, path: string): void => {
    if (actual === REMARK) return;
    if (actual instanceof Unjudged) {
      unjudged.set(actual.reason, [...(unjudged.get(actual.reason) ?? []), path]);
      return;
    }
    if (isObject(expected) && isObject(actual) && sizesAgree(expected, actual)) {
      for (const [name, value] of Object.entries(expected)) compare(value, actual[name], `${path}.${name}`);
      return;
    }
    compared += 1;
    if (!Object.is(expected, actual)) differing.push(path);
  };
  for (const [name, value] of Object.entries(stated)) compare(value, found[name], name);
  const reasons = [...unjudged].map(([reason, paths]) => `${paths.join(', ')}: ${reason}`);
  return { differing, unjudged: reasons, compared };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** Nothing may be left over in a list, and nothing in a record that the manifest lists whole. */
function sizesAgree(expected: object, actual: object): boolean {
  if (Array.isArray(expected) !== Array.isArray(actual)) return false;
  return Object.keys(expected).length === Object.keys(actual).length;
}
