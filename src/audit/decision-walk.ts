/** One way through a log that stops at every decision, with the state that it was made in. */

import { isRefusal } from '../../attestation/core/refusal.ts';
import { decodeEntry, type DecisionEntry, type LogEntry } from '../governance/entries.ts';
import { applyEntry, initialState } from '../governance/fold.ts';
import { governanceRefusals } from '../governance/refusals.ts';
import type { GovernanceState } from '../governance/state.ts';
import type { LogTrust, VerifiedCheckpoint } from '../log/checkpoint.ts';
import { auditLog, type LogSource } from '../log/reader.ts';
import type { Alarm } from './audit-log.ts';

/** A decision where it stands. */
export interface LoggedDecision {
  readonly index: number;
  readonly entry: DecisionEntry;
  /** Its exact bytes. */
  readonly bytes: Uint8Array;
  /** Before the entry. */
  readonly state: GovernanceState;
}

export interface WalkedLog {
  readonly checkpoint: VerifiedCheckpoint;
  /** Entries that the rules do not allow, decisions among them. */
  readonly alarms: readonly Alarm[];
}

/**
 * Verifies a log and visits its decisions in order. Nothing that a visitor learns holds before this returns.
 *
 * @throws RefusalError `log-*` when the log itself does not verify, `governance-genesis`, and what the visitor throws
 */
export async function walkDecisions(
  source: LogSource,
  trust: LogTrust,
  visit: (decision: LoggedDecision) => Promise<void>,
): Promise<WalkedLog> {
  const alarms: Alarm[] = [];
  let state: GovernanceState | undefined;
  const checkpoint = await auditLog(source, trust, { minimumSize: 1n }, async (bytes, position) => {
    const index = Number(position);
    const before = state;
    if (before === undefined) {
      state = begin(decodeEntry(bytes));
      return;
    }
    const step = advance(before, bytes, index);
    state = step.state;
    if ('alarm' in step) alarms.push(step.alarm);
    if (step.entry?.type === 'decision') await visit({ index, entry: step.entry, bytes, state: before });
  });
  return { checkpoint, alarms };
}

type Step = { readonly state: GovernanceState; readonly entry: LogEntry | undefined } & (
  { readonly alarm: Alarm } | object
);

/** The rules go on from the state before, so that one bad entry does not hide what follows it. */
function advance(state: GovernanceState, bytes: Uint8Array, index: number): Step {
  let entry: LogEntry | undefined;
  try {
    entry = decodeEntry(bytes);
    return { state: applyEntry(state, entry, index).state, entry };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { state: { ...state, size: index + 1 }, entry, alarm: { index, refusal: error.refusal } };
  }
}

function begin(entry: LogEntry): GovernanceState {
  if (entry.type === 'genesis') return initialState(entry);
  const facts = { field: 'genesis.type', expected: 'a genesis entry first (GV-2)', found: entry.type };
  throw governanceRefusals.error('governance-genesis', facts);
}
