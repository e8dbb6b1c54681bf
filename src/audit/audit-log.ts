/**
 * The audit of a release log: rebuilds the tree from its entries, verifies the checkpoint with the auditor's own key,
 * and applies every entry to the rules of governance. Trusts nobody who serves the log.
 */

import type { GovernanceState, HeartbeatState } from '../governance/state.ts';
import type { TreeHead } from '../log/checkpoint-body.ts';
import type { LogTrust, VerifiedCheckpoint } from '../log/checkpoint.ts';
import { auditLog, type LogSource } from '../log/reader.ts';
import { RuleFollower, type Alarm, type FollowedEntry } from './rule-follower.ts';

export type { Alarm } from './rule-follower.ts';

/** What is done with entries as they come. Nothing of it may be shown before the audit has ended: see `auditLog`. */
export interface AuditVisitor {
  entry?(followed: FollowedEntry): void | Promise<void>;
  /** An entry that the rules do not allow, or that is no entry. */
  alarm?(alarm: Alarm): void | Promise<void>;
}

export interface AuditOutcome {
  readonly checkpoint: VerifiedCheckpoint;
  readonly mode: GovernanceState['mode'] | undefined;
  readonly heartbeats: HeartbeatState | undefined;
  /** How many entries the rules do not allow. */
  readonly alarms: number;
  readonly firstAlarm: Alarm | undefined;
}

/**
 * Audits a whole log. Memory stays flat.
 *
 * @param previous what this auditor verified before, from its own storage
 * @throws RefusalError `log-*` when the log itself does not verify; entries against the rules are alarms instead. And what
 *   the visitor throws
 */
export async function auditReleaseLog(
  source: LogSource,
  trust: LogTrust,
  previous: TreeHead | undefined,
  visitor: AuditVisitor = {},
): Promise<AuditOutcome> {
  const follower = new RuleFollower(trust.origin);
  let alarms = 0;
  let firstAlarm: Alarm | undefined;
  const checkpoint = await auditLog(source, trust, { minimumSize: 1n, previous }, async (bytes) => {
    const followed = follower.take(bytes);
    if (!('refusal' in followed)) {
      await visitor.entry?.(followed);
      return;
    }
    alarms += 1;
    firstAlarm ??= followed;
    await visitor.alarm?.(followed);
  });
  const { state } = follower;
  return { checkpoint, mode: state?.mode, heartbeats: state?.heartbeats, alarms, firstAlarm };
}
