/** Log entries as lines for people: who got which key, when, why, and who said what. */

import {
  envelopeOf,
  type DecisionEntry,
  type HeartbeatEntry,
  type LogEntry,
  type StatementEntry,
} from '../governance/entries.ts';
import type { Effect, GovernanceState } from '../governance/state.ts';
import { verifyStatement } from '../governance/statements.ts';
import { legible } from '../platform/legible.ts';
import { describeEffect, describeStatement, modelName } from './wording.ts';

export interface AuditRow {
  readonly index: number;
  /** POSIX seconds, by the server's clock. */
  readonly at: number;
  readonly what: 'genesis' | 'statement' | 'enrolment' | 'custody' | 'heartbeat' | 'granted' | 'refused';
  readonly who: string;
  readonly text: string;
  /** What the entry brought about, if anything: the last signature of a quorum does, those before do not. */
  readonly effects: readonly string[];
}

type RowHead = Pick<AuditRow, 'index' | 'at' | 'effects'>;

/**
 * @param state before the entry, by which names are looked up; undefined at the genesis entry
 * @param effects what the fold made of the entry
 * @throws RefusalError those of `verifyStatement`
 */
export function describeEntry(
  entry: LogEntry,
  index: number,
  state: GovernanceState | undefined,
  effects: readonly Effect[],
): AuditRow {
  const head = { index, at: entry.at, effects: effects.map((effect) => describeEffect(effect, state)) };
  switch (entry.type) {
    case 'genesis': {
      const text = `${entry.mode} server, trust root of ${entry.trustRoot.persons.length} persons`;
      return { ...head, what: 'genesis', who: entry.origin, text };
    }
    case 'statement':
      return describeStatementEntry(head, entry, state);
    case 'enrolment': {
      const hardware = entry.simulated ? 'simulated TPM' : 'TPM';
      const text = `${hardware} with endorsement key ${entry.endorsementKeyDigest.slice(0, 16)}`;
      return { ...head, what: 'enrolment', who: entry.lab, text };
    }
    case 'custody': {
      const text = `${entry.provider} custody ${entry.custody} ${entry.event} ${entry.wrappingKeys.join(', ')}`;
      return { ...head, what: 'custody', who: 'the server', text: text.trimEnd() };
    }
    case 'heartbeat':
      return {
        ...head,
        what: 'heartbeat',
        who: `run ${entry.run.slice(0, 8)}`,
        text: describeHeartbeat(entry),
      };
    case 'decision':
      return { ...head, what: entry.outcome, who: entry.lab, text: describeDecision(entry, state) };
  }
}

function describeStatementEntry(
  head: RowHead,
  entry: StatementEntry,
  state: GovernanceState | undefined,
): AuditRow {
  if (state === undefined) {
    return { ...head, what: 'statement', who: 'nobody', text: 'before the genesis entry' };
  }
  const { person, named, payloadDigest } = verifyStatement(envelopeOf(entry), state.trustRoot);
  const text = `${describeStatement(named, state)} [${payloadDigest.slice(0, 16)}]`;
  return { ...head, what: 'statement', who: `${person.person} (${person.organisation})`, text };
}

function describeHeartbeat(entry: HeartbeatEntry): string {
  const { decisions, handedOut, refusals, pendingStatements, witnessed, serverBuild } = entry;
  const requests = refusals.reduce((sum, { count }) => sum + count, 0);
  const codes = refusals.map(({ code, count }) => `${code} ${count}`).join(', ');
  return [
    legible(serverBuild),
    `${decisions.granted} granted`,
    `${decisions.refused} refused`,
    `${handedOut.challenges} challenges`,
    `${handedOut.enrolments} enrolments begun`,
    `${requests} requests refused without an entry${codes === '' ? '' : ` (${codes})`}`,
    `${pendingStatements} statements pending`,
    witnessed === null ? 'not known to be witnessed' : `witnessed up to ${witnessed.size}`,
  ].join(', ');
}

function describeDecision(entry: DecisionEntry, state: GovernanceState | undefined): string {
  const { renews, purpose, phase, lease, reasons, refusals, claims } = entry;
  const asked = renews === null ? 'key of' : 'renewal for';
  const model = modelName(entry.manifestDigest, state);
  const subject = `${asked} ${model} (${phase ?? 'not registered'}) for ${legible(purpose)}`;
  if (lease === null) {
    return `${subject}: ${refusals.map(({ code, field }) => `${code} at ${legible(field)}`).join(', ')}`;
  }
  const devices = claims
    .map((device) => `${device.simulated ? 'simulated ' : ''}${device.class}`)
    .join(' and ');
  return `${subject}, on ${devices}, ${lease.endsAt - lease.startsAt} s, by ${reasons.map(legible).join(', ')}`;
}
