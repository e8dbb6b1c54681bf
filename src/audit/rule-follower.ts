/** The rules of governance as a reader of a log applies them, entry by entry: what the server must have done itself. */

import { isRefusal, type Refusal } from '../../attestation/core/refusal.ts';
import { decodeEntry, type LogEntry } from '../governance/entries.ts';
import { applyEntry, initialState } from '../governance/fold.ts';
import { governanceRefusals } from '../governance/refusals.ts';
import type { Applied, Effect, GovernanceState } from '../governance/state.ts';

/** An entry that the rules allow. */
export interface FollowedEntry {
  readonly index: number;
  readonly entry: LogEntry;
  /** The state by which it was judged; undefined at the genesis entry. */
  readonly before: GovernanceState | undefined;
  readonly effects: readonly Effect[];
}

/** An entry that the rules do not allow, or that is no entry. The log is genuine; whoever wrote it broke its rules. */
export interface Alarm {
  readonly index: number;
  readonly refusal: Refusal;
}

export class RuleFollower {
  readonly #origin: string;
  #state: GovernanceState | undefined;
  #next = 0;

  /** @param origin of the log, as the reader pins it */
  constructor(origin: string) {
    this.#origin = origin;
  }

  /** After the entries so far; undefined where the log did not begin with a genesis entry. */
  get state(): GovernanceState | undefined {
    return this.#state;
  }

  /** Applies the next entry of the log. One that is refused leaves the rules where they were, so that it hides nothing. */
  take(bytes: Uint8Array): FollowedEntry | Alarm {
    const index = this.#next;
    this.#next += 1;
    try {
      const entry = decodeEntry(bytes);
      const before = this.#state;
      const { state, effects } =
        before === undefined ? this.#begin(entry, index) : applyEntry(before, entry, index);
      this.#state = state;
      return { index, entry, before, effects };
    } catch (error) {
      if (!isRefusal(error)) throw error;
      if (this.#state !== undefined) this.#state = { ...this.#state, size: index + 1 };
      return { index, refusal: error.refusal };
    }
  }

  #begin(entry: LogEntry, index: number): Applied {
    if (entry.type !== 'genesis' || index !== 0) {
      throw refuseGenesis('type', 'a genesis entry first', index === 0 ? entry.type : `one at ${index}`);
    }
    if (entry.origin !== this.#origin) throw refuseGenesis('origin', this.#origin, entry.origin);
    return { state: initialState(entry), effects: [] };
  }
}

function refuseGenesis(member: string, expected: string, found: string): Error {
  const facts = { field: `genesis.${member}`, expected: `${expected} (GV-2)`, found };
  return governanceRefusals.error('governance-genesis', facts);
}
