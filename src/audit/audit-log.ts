/**
 * The audit of a release log: rebuilds the tree from its entries, verifies the checkpoint with the auditor's own key,
 * and applies every entry to the rules of governance. Trusts nobody who serves the log.
 */

import { isRefusal, type Refusal } from '../../attestation/core/refusal.ts';
import { decodeEntry, type LogEntry } from '../governance/entries.ts';
import { applyEntry, initialState } from '../governance/fold.ts';
import type { Applied, GovernanceState } from '../governance/state.ts';
import type { TreeHead } from '../log/checkpoint-body.ts';
import type { LogTrust, VerifiedCheckpoint } from '../log/checkpoint.ts';
import { auditLog, type LogSource } from '../log/reader.ts';
import { describeEntry, type AuditRow } from './rows.ts';

/** An entry that the rules do not allow, or that is no entry. The log is genuine; whoever wrote it broke its rules. */
export interface Alarm {
  readonly index: number;
  readonly refusal: Refusal;
}

export interface AuditReport {
  readonly checkpoint: VerifiedCheckpoint;
  readonly mode: GovernanceState['mode'] | undefined;
  readonly rows: readonly AuditRow[];
  /** Empty when every entry was allowed. */
  readonly alarms: readonly Alarm[];
}

/**
 * Audits a whole log.
 *
 * @param previous what this auditor verified before, from its own storage
 * @throws RefusalError `log-*` when the log itself does not verify; entries against the rules are alarms instead
 */
export async function auditReleaseLog(
  source: LogSource,
  trust: LogTrust,
  previous: TreeHead | undefined,
): Promise<AuditReport> {
  const rows: AuditRow[] = [];
  const alarms: Alarm[] = [];
  let state: GovernanceState | undefined;
  const checkpoint = await auditLog(source, trust, { minimumSize: 1n, previous }, (bytes, position) => {
    const index = Number(position);
    try {
      const entry = decodeEntry(bytes);
      const before = state;
      const applied = advance(before, entry, index);
      state = applied.state;
      rows.push(describeEntry(entry, index, before, applied.effects));
    } catch (error) {
      if (!isRefusal(error)) throw error;
      alarms.push({ index, refusal: error.refusal });
      // The rules go on from the state before, so that one bad entry does not hide what follows it.
      if (state !== undefined) state = { ...state, size: index + 1 };
    }
  });
  return { checkpoint, mode: state?.mode, rows, alarms };
}

function advance(state: GovernanceState | undefined, entry: LogEntry, index: number): Applied {
  if (state !== undefined) return applyEntry(state, entry, index);
  // A log that does not begin with its genesis entry is refused by the rule that names it.
  return { state: initialState(entry as Extract<LogEntry, { type: 'genesis' }>), effects: [] };
}
