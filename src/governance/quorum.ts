/** Counts the distinct persons behind a statement and lets it take effect when there are enough (W8). */

import { governanceRefusals } from './refusals.ts';
import type { PredicateName } from './predicates.ts';
import { checkReferences, takeEffect } from './rules.ts';
import type { Applied, Effect, GovernanceState, LoggedMoment, PendingStatement } from './state.ts';
import type { SignedStatement } from './statements.ts';

/** A statement that has not found its quorum this long after its first signature was logged never does (GV-24). */
export const PENDING_SECONDS = 30 * 86_400;

/** One person stops; how many start anything, the trust root says. */
const HOLD_PERSONS = 1;

/**
 * Counts one signature, and applies the statement when its quorum is complete. When it then breaks a rule, the
 * signature that would complete the quorum is refused and does not count.
 *
 * @throws RefusalError `governance-*`
 */
export function countSignature(
  state: GovernanceState,
  signed: SignedStatement,
  moment: LoggedMoment,
): Applied {
  checkRole(state, signed);
  checkReferences(state, signed.named);
  const pending = addSignature(state, signed, moment);
  const needed = personsNeeded(state, signed);
  const counted: Effect = {
    effect: 'signature-counted',
    predicate: signed.named.name,
    payloadDigest: signed.payloadDigest,
    person: signed.person.person,
    persons: pending.signedBy.size,
    needed,
  };
  const waiting = new Map(state.pending);
  if (pending.signedBy.size < needed) {
    waiting.set(signed.payloadDigest, pending);
    return { state: { ...state, pending: waiting }, effects: [counted] };
  }
  waiting.delete(signed.payloadDigest);
  const settled = new Set(state.settled).add(signed.payloadDigest);
  const applied = takeEffect({ ...state, pending: waiting, settled }, signed, moment);
  return { state: applied.state, effects: [counted, ...applied.effects] };
}

/** How many statements wait for their quorum and have not lapsed. @param at POSIX seconds */
export function waitingStatements({ pending }: GovernanceState, at: number): number {
  return [...pending.values()].filter(({ openedAt }) => at <= openedAt + PENDING_SECONDS).length;
}

/** Both versions of a statement about reference values need the quorum that the root names for the first (GV-60). */
function quorumOf({ trustRoot }: GovernanceState, name: Exclude<PredicateName, 'hold/v1'>) {
  return trustRoot.quorum[name === 'reference-values/v2' ? 'reference-values/v1' : name];
}

function personsNeeded(state: GovernanceState, { named }: SignedStatement): number {
  return named.name === 'hold/v1' ? HOLD_PERSONS : quorumOf(state, named.name).persons;
}

/** Every person of the trust root can stop; for anything else the trust root names the role. */
function checkRole(state: GovernanceState, { person, named }: SignedStatement): void {
  if (named.name === 'hold/v1') return;
  const { role } = quorumOf(state, named.name);
  if (person.role !== role) {
    throw governanceRefusals.error('governance-role-missing', {
      field: 'statement.signatures',
      expected: `a person of role ${role} for ${named.name} (GV-21)`,
      found: `${person.person} of role ${person.role}`,
    });
  }
}

function addSignature(
  state: GovernanceState,
  { person, named, payloadDigest }: SignedStatement,
  moment: LoggedMoment,
): PendingStatement {
  if (state.settled.has(payloadDigest)) {
    throw governanceRefusals.error('governance-statement-settled', {
      field: 'statement',
      expected: 'a statement that has not taken effect (GV-23)',
      found: payloadDigest,
    });
  }
  const pending = state.pending.get(payloadDigest);
  if (pending === undefined) {
    return { named, payloadDigest, openedAt: moment.at, signedBy: new Map([[person.person, moment.index]]) };
  }
  if (moment.at > pending.openedAt + PENDING_SECONDS) {
    throw governanceRefusals.error('governance-statement-lapsed', {
      field: 'statement',
      expected: `all signatures until ${pending.openedAt + PENDING_SECONDS} (GV-24)`,
      found: `one at ${moment.at}`,
    });
  }
  if (pending.signedBy.has(person.person)) {
    throw governanceRefusals.error('governance-statement-replayed', {
      field: 'statement.signatures',
      expected: 'a person who has not signed it yet (GV-22)',
      found: person.person,
    });
  }
  return { ...pending, signedBy: new Map(pending.signedBy).set(person.person, moment.index) };
}
