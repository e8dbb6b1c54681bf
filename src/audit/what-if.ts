/**
 * What a change would have meant: every decision of a log is derived again in a changed state (docs/spec/replay.md,
 * section 4), and those that come out differently are listed, with the leases of theirs that still run.
 */

import type { DecisionEntry, Lease } from '../governance/entries.ts';
import type { GovernanceState } from '../governance/state.ts';
import type { DecisionDeriver } from '../policy/rederived.ts';
import { outcomeText, type LoggedDecision } from './replay.ts';
import type { StateChange } from './what-if-changes.ts';

/** A decision that comes out differently. */
interface TouchedDecision {
  readonly index: number;
  /** POSIX seconds. */
  readonly at: number;
  readonly lab: string;
  readonly manifestDigest: string;
  /** Outcome and codes, as logged. */
  readonly logged: string;
  /** As it would have been. */
  readonly derived: string;
  readonly outcome: DecisionEntry['outcome'];
  readonly derivedOutcome: DecisionEntry['outcome'] | 'undecided';
  /** The lease that was granted; null in a refusal. */
  readonly lease: Lease | null;
  /** Whether the lease has not ended at the time that was asked about. */
  readonly isRunning: boolean;
}

/** What a change means for one decision. `holds`: nothing. `open`: it cannot be derived again. */
export type Consequence =
  | { readonly answer: 'holds' }
  | ({ readonly answer: 'turns' } & TouchedDecision)
  | ({ readonly answer: 'open' } & Pick<TouchedDecision, 'index' | 'at' | 'lab' | 'outcome' | 'isRunning'>);

/** A question about one log. Nothing that it answers holds before the whole log was verified. */
export class WhatIf {
  private readonly deriver: DecisionDeriver;
  private readonly changes: readonly StateChange[];
  private readonly at: number;
  private readonly effective = new Set<StateChange>();

  /**
   * @param changes are made one after another to the state before each decision
   * @param at POSIX seconds: leases that end later run
   */
  constructor(deriver: DecisionDeriver, changes: readonly StateChange[], at: number) {
    this.deriver = deriver;
    this.changes = changes;
    this.at = at;
  }

  /** Changes that no state so far had anything for (RD-14). */
  get idle(): readonly StateChange[] {
    return this.changes.filter((change) => !this.effective.has(change));
  }

  async take({ index, entry, state }: LoggedDecision): Promise<Consequence> {
    const { at, lab, outcome, manifestDigest, lease } = entry;
    const isRunning = lease !== null && lease.endsAt > this.at;
    const head = { index, at, lab, outcome, isRunning };
    const answer = await this.deriveChanged(entry, this.changed(state));
    if (answer === undefined) return { answer: 'open', ...head };
    const logged = outcomeText(entry);
    if (answer.derived === logged) return { answer: 'holds' };
    return { answer: 'turns', ...head, manifestDigest, lease, logged, ...answer };
  }

  private changed(state: GovernanceState): GovernanceState {
    return this.changes.reduce((before, change) => {
      const after = change.apply(before);
      if (after !== before) this.effective.add(change);
      return after;
    }, state);
  }

  /** @returns undefined where it cannot be derived again */
  private async deriveChanged(entry: DecisionEntry, state: GovernanceState): Promise<Answer | undefined> {
    if (entry.version === 1) return undefined;
    const derived = await this.deriver.derive(state, entry.inputsDigest);
    switch (derived.found) {
      case 'entry':
        return { derived: outcomeText(derived.entry), derivedOutcome: derived.entry.outcome };
      case 'refusal':
        return { derived: `undecided (${derived.refusal.code})`, derivedOutcome: 'undecided' };
      case 'missing':
      case 'deleted':
        return undefined;
    }
  }
}

type Answer = Pick<TouchedDecision, 'derived' | 'derivedOutcome'>;
