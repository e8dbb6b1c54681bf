/**
 * The replay of decisions: each is derived again from what the server kept of it, and compared bit for bit with what the
 * server logged (docs/spec/replay.md, section 3).
 */

import { equalBytes } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { encodeEntry, type DecisionEntry } from '../governance/entries.ts';
import type { GovernanceState } from '../governance/state.ts';
import type { DecisionDeriver, Rederived } from '../policy/rederived.ts';

/**
 * `same`: derived again, to the last bit. `differs`: what was kept leads to another entry, or to none. `deleted`: its inputs
 * were deleted after the time that the server keeps them for. `missing`: they are not all in the store. `unkept`: it was
 * logged by a server that kept none.
 */
export const REPLAY_VERDICTS = ['same', 'differs', 'deleted', 'missing', 'unkept'] as const;

type ReplayVerdict = (typeof REPLAY_VERDICTS)[number];

export interface ReplayedDecision {
  readonly index: number;
  /** POSIX seconds. */
  readonly at: number;
  readonly lab: string;
  readonly outcome: DecisionEntry['outcome'];
  readonly serverBuild: string;
  readonly verdict: ReplayVerdict;
  /** Members of the entry that came out differently. */
  readonly members: readonly string[];
  /** Why it is not the same; empty when it is. */
  readonly reason: string;
}

/** A decision where it stands in a log. */
export interface LoggedDecision {
  readonly index: number;
  readonly entry: DecisionEntry;
  /** Before the entry. */
  readonly state: GovernanceState;
}

/** The replay of one log. Nothing that it says holds before the whole log was verified. */
export class DecisionReplay {
  private readonly deriver: DecisionDeriver;
  private areInputsNamed = false;
  private readonly restedOn = new Map<string, number>();
  private readonly counted: Record<ReplayVerdict, number> = {
    same: 0,
    differs: 0,
    deleted: 0,
    missing: 0,
    unkept: 0,
  };

  constructor(deriver: DecisionDeriver) {
    this.deriver = deriver;
  }

  /** How many decisions came out how. */
  get counts(): Readonly<Record<ReplayVerdict, number>> {
    return this.counted;
  }

  /** How many decisions were derived with which authorities, by the digest of their document (RD-5). */
  get authorities(): ReadonlyMap<string, number> {
    return this.restedOn;
  }

  /** Derives a decision again. To be called for every decision of the log, in its order. */
  async take(decision: LoggedDecision): Promise<ReplayedDecision> {
    const { index, entry } = decision;
    const { at, lab, outcome, serverBuild } = entry;
    const finding = await this.judge(decision);
    this.counted[finding.verdict] += 1;
    return { index, at, lab, outcome, serverBuild, ...finding };
  }

  private async judge({ entry, state }: LoggedDecision): Promise<Finding> {
    if (entry.version === 1) return withoutInputs(this.areInputsNamed);
    this.areInputsNamed = true;
    const derived = await this.deriver.derive(state, entry.inputsDigest);
    if (derived.found === 'entry') {
      const { authoritiesDigest } = derived;
      this.restedOn.set(authoritiesDigest, (this.restedOn.get(authoritiesDigest) ?? 0) + 1);
    }
    return compare(entry, derived);
  }
}

type Finding = Pick<ReplayedDecision, 'verdict' | 'members' | 'reason'>;

/** RD-3: no server that names inputs goes back to naming none. */
function withoutInputs(areInputsNamed: boolean): Finding {
  if (!areInputsNamed) {
    return { verdict: 'unkept', members: [], reason: 'logged by a version that kept no inputs' };
  }
  const reason = 'names no inputs, and decisions before it do';
  return { verdict: 'differs', members: ['version', 'inputsDigest'], reason };
}

function compare(logged: DecisionEntry, derived: Rederived): Finding {
  switch (derived.found) {
    case 'entry': {
      // An entry has one form: equal bytes are equal entries.
      if (equalBytes(encodeEntry(derived.entry), encodeEntry(logged))) {
        return { verdict: 'same', members: [], reason: '' };
      }
      const members = differingMembers(logged, derived.entry);
      return { verdict: 'differs', members, reason: `derived again: ${outcomeText(derived.entry)}` };
    }
    case 'refusal': {
      const { code, field } = derived.refusal;
      return { verdict: 'differs', members: [], reason: `its inputs lead to no entry: ${code} at ${field}` };
    }
    case 'missing':
      return { verdict: 'missing', members: [], reason: `not in the store: ${derived.digest}` };
    case 'deleted':
      return deleted(logged, derived);
  }
}

const DAY_SECONDS = 86_400;

/** RD-9: a deletion before its time is none that the policy asks for. */
function deleted(entry: DecisionEntry, deletion: Extract<Rederived, { found: 'deleted' }>): Finding {
  const { decidedAt, deletedAt, keepDays } = deletion;
  const keptSeconds = deletedAt - decidedAt;
  const isDue = decidedAt === entry.at && keepDays > 0 && keptSeconds > keepDays * DAY_SECONDS;
  const reason = `deleted after ${keptSeconds} s, to be kept for ${keepDays} days`;
  return { verdict: isDue ? 'deleted' : 'missing', members: [], reason };
}

/** Outcome and codes of a decision, in one text. */
export function outcomeText({ outcome, refusals }: Pick<DecisionEntry, 'outcome' | 'refusals'>): string {
  const codes = refusals.map(({ code }) => code);
  return codes.length === 0 ? outcome : `${outcome} (${codes.join(', ')})`;
}

function differingMembers(logged: DecisionEntry, derived: DecisionEntry): readonly string[] {
  const [left, right] = [membersOf(logged), membersOf(derived)];
  const names = new Set([...left.keys(), ...right.keys()]);
  return [...names].filter((name) => left.get(name) !== right.get(name)).sort();
}

function membersOf(entry: DecisionEntry): ReadonlyMap<string, string> {
  const members = Object.entries(entry as unknown as Readonly<Record<string, JsonValue>>);
  return new Map(members.map(([name, value]) => [name, Buffer.from(encodeCanonicalJson(value)).toString()]));
}
