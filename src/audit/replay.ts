/**
 * The replay of a log: every decision is derived again from what the server kept of it, and compared bit for bit with what
 * the server logged (docs/spec/replay.md, section 3).
 */

import { equalBytes } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { encodeEntry, type DecisionEntry } from '../governance/entries.ts';
import type { LogTrust } from '../log/checkpoint.ts';
import type { LogSource } from '../log/reader.ts';
import type { DecisionDeriver, Rederived } from '../policy/rederived.ts';
import { walkDecisions, type LoggedDecision, type WalkedLog } from './decision-walk.ts';

/**
 * `same`: derived again, to the last bit. `differs`: what was kept leads to another entry, or to none. `deleted`: its inputs
 * were deleted after the time that the server keeps them for. `missing`: they are not all in the store. `unkept`: it was
 * logged by a server that kept none.
 */
export const REPLAY_VERDICTS = ['same', 'differs', 'deleted', 'missing', 'unkept'] as const;

export type ReplayVerdict = (typeof REPLAY_VERDICTS)[number];

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

export interface ReplayReport extends WalkedLog {
  readonly decisions: readonly ReplayedDecision[];
  /** How many decisions were derived with which authorities, by the digest of their document. */
  readonly authorities: ReadonlyMap<string, number>;
}

/** @throws RefusalError as {@link walkDecisions} */
export async function replayDecisions(
  source: LogSource,
  trust: LogTrust,
  deriver: DecisionDeriver,
): Promise<ReplayReport> {
  const decisions: ReplayedDecision[] = [];
  const authorities = new Map<string, number>();
  let areInputsNamed = false;
  const walked = await walkDecisions(source, trust, async (decision) => {
    const { entry } = decision;
    if (entry.version === 1) {
      decisions.push(row(decision, withoutInputs(areInputsNamed)));
      return;
    }
    areInputsNamed = true;
    const derived = await deriver.derive(decision.state, entry.inputsDigest);
    decisions.push(row(decision, compare(decision, derived)));
    if (derived.found !== 'entry') return;
    const { authoritiesDigest } = derived;
    authorities.set(authoritiesDigest, (authorities.get(authoritiesDigest) ?? 0) + 1);
  });
  return { ...walked, decisions, authorities };
}

type Finding = Pick<ReplayedDecision, 'verdict' | 'members' | 'reason'>;

function row({ index, entry }: LoggedDecision, finding: Finding): ReplayedDecision {
  const { at, lab, outcome, serverBuild } = entry;
  return { index, at, lab, outcome, serverBuild, ...finding };
}

/** RD-3: no server that names inputs goes back to naming none. */
function withoutInputs(areInputsNamed: boolean): Finding {
  if (!areInputsNamed) {
    return { verdict: 'unkept', members: [], reason: 'logged by a version that kept no inputs' };
  }
  const reason = 'names no inputs, and decisions before it do';
  return { verdict: 'differs', members: ['version', 'inputsDigest'], reason };
}

function compare(decision: LoggedDecision, derived: Rederived): Finding {
  switch (derived.found) {
    case 'entry': {
      if (equalBytes(encodeEntry(derived.entry), decision.bytes)) {
        return { verdict: 'same', members: [], reason: '' };
      }
      const members = differingMembers(decision.entry, derived.entry);
      return { verdict: 'differs', members, reason: `derived again: ${outcomeText(derived.entry)}` };
    }
    case 'refusal': {
      const { code, field } = derived.refusal;
      return { verdict: 'differs', members: [], reason: `its inputs lead to no entry: ${code} at ${field}` };
    }
    case 'missing':
      return { verdict: 'missing', members: [], reason: `not in the store: ${derived.digest}` };
    case 'deleted':
      return deleted(decision.entry, derived);
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
