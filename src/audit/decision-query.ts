/** Decisions of a log that fit a question (docs/spec/audit.md, section 3), as rows that say where they stand. */

import type { DecisionEntry } from '../governance/entries.ts';
import type { GovernanceState } from '../governance/state.ts';
import type { FollowedEntry } from './rule-follower.ts';

/** Each member narrows; one that is left out, or an empty list, does not. */
export interface DecisionFilter {
  /** Manifest digests, or names of models as they were registered. */
  readonly models: readonly string[];
  readonly labs: readonly string[];
  readonly phases: readonly string[];
  readonly outcome: DecisionEntry['outcome'] | undefined;
  /** Codes of refusals. */
  readonly codes: readonly string[];
  readonly deviceClasses: readonly string[];
  /** POSIX seconds by the clock of the server: from the first one on, up to and without the second. */
  readonly since: number | undefined;
  readonly until: number | undefined;
}

/** One decision. All members stand in the log, but the names of a model, which stand in its registration. */
export interface DecisionRow {
  readonly index: number;
  /** POSIX seconds. */
  readonly at: number;
  readonly outcome: DecisionEntry['outcome'];
  readonly lab: string;
  /** Null where the manifest was not registered. */
  readonly model: string | null;
  readonly version: string | null;
  readonly variant: string | null;
  readonly manifestDigest: string;
  readonly phase: string | null;
  readonly purpose: string;
  readonly deviceClasses: readonly string[];
  readonly simulated: boolean;
  readonly leaseEndsAt: number | null;
  /** The lease that it renews, or null. */
  readonly renews: string | null;
  readonly reasons: readonly string[];
  readonly codes: readonly string[];
  readonly requestDigest: string;
}

/** @returns undefined where the entry is no decision, or does not fit */
export function queryDecision(
  filter: DecisionFilter,
  { index, entry, before }: FollowedEntry,
): DecisionRow | undefined {
  if (entry.type !== 'decision') return undefined;
  const row = decisionRow(index, entry, before);
  return fits(filter, row) ? row : undefined;
}

function decisionRow(index: number, entry: DecisionEntry, state: GovernanceState | undefined): DecisionRow {
  const registration = state?.models.get(entry.manifestDigest)?.registration;
  const { at, outcome, lab, manifestDigest, phase, purpose, claims, lease, renews, reasons, requestDigest } =
    entry;
  return {
    ...{ index, at, outcome, lab, manifestDigest, phase, purpose, renews, reasons, requestDigest },
    model: registration?.model ?? null,
    version: registration?.version ?? null,
    variant: registration?.variant ?? null,
    deviceClasses: claims.map((device) => device.class),
    simulated: claims.some((device) => device.simulated),
    leaseEndsAt: lease?.endsAt ?? null,
    codes: entry.refusals.map(({ code }) => code),
  };
}

function fits(filter: DecisionFilter, row: DecisionRow): boolean {
  const { since, until, outcome } = filter;
  return (
    (since === undefined || row.at >= since) &&
    (until === undefined || row.at < until) &&
    (outcome === undefined || row.outcome === outcome) &&
    isAmong(filter.models, [row.manifestDigest, row.model]) &&
    isAmong(filter.labs, [row.lab]) &&
    isAmong(filter.phases, [row.phase]) &&
    isAmong(filter.codes, row.codes) &&
    isAmong(filter.deviceClasses, row.deviceClasses)
  );
}

function isAmong(wanted: readonly string[], found: readonly (string | null)[]): boolean {
  return wanted.length === 0 || found.some((one) => one !== null && wanted.includes(one));
}
