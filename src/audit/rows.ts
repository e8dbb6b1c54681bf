/** Log entries as lines for people: who got which key, when, why, and who said what. */

import { envelopeOf, type DecisionEntry, type LogEntry } from '../governance/entries.ts';
import type { GovernanceState } from '../governance/state.ts';
import { verifyStatement } from '../governance/statements.ts';

export interface AuditRow {
  readonly index: number;
  /** POSIX seconds, by the server's clock. */
  readonly at: number;
  readonly what: 'genesis' | 'statement' | 'enrolment' | 'granted' | 'refused';
  readonly who: string;
  readonly text: string;
}

/**
 * @param state before the entry, by which names are looked up; undefined at the genesis entry
 * @throws RefusalError those of `verifyStatement`
 */
export function describeEntry(entry: LogEntry, index: number, state: GovernanceState | undefined): AuditRow {
  const head = { index, at: entry.at };
  switch (entry.type) {
    case 'genesis':
      return {
        ...head,
        what: 'genesis',
        who: entry.origin,
        text: `${entry.mode} server, ${personsOf(entry)}`,
      };
    case 'statement': {
      if (state === undefined)
        return { ...head, what: 'statement', who: 'nobody', text: 'before the genesis entry' };
      const { person, named, payloadDigest } = verifyStatement(envelopeOf(entry), state.trustRoot);
      const text = `${named.name} ${payloadDigest.slice(0, 16)}`;
      return { ...head, what: 'statement', who: `${person.person} (${person.organisation})`, text };
    }
    case 'enrolment': {
      const hardware = entry.simulated ? 'simulated TPM' : 'TPM';
      const text = `${hardware} with endorsement key ${entry.endorsementKeyDigest.slice(0, 16)}`;
      return { ...head, what: 'enrolment', who: entry.lab, text };
    }
    case 'decision':
      return { ...head, what: entry.outcome, who: entry.lab, text: describeDecision(entry, state) };
  }
}

function personsOf(entry: Extract<LogEntry, { type: 'genesis' }>): string {
  return `trust root of ${entry.trustRoot.persons.length} persons`;
}

function describeDecision(entry: DecisionEntry, state: GovernanceState | undefined): string {
  const { renews, purpose, phase, lease, reasons, refusals, claims } = entry;
  const asked = renews === null ? 'key of' : 'renewal for';
  const subject = `${asked} ${modelName(entry, state)} (${phase ?? 'not registered'}) for ${purpose}`;
  if (lease === null)
    return `${subject}: ${refusals.map(({ code, field }) => `${code} at ${field}`).join(', ')}`;
  const devices = claims
    .map((device) => `${device.simulated ? 'simulated ' : ''}${device.class}`)
    .join(' and ');
  return `${subject}, on ${devices}, ${lease.endsAt - lease.startsAt} s, by ${reasons.join(', ')}`;
}

function modelName({ manifestDigest }: DecisionEntry, state: GovernanceState | undefined): string {
  const registration = state?.models.get(manifestDigest)?.registration;
  if (registration === undefined) return `model ${manifestDigest.slice(0, 16)}`;
  return `${registration.model} ${registration.version}`;
}
