/** What commands that audit a log have in common: how they read it, and how they end. */

import { defineRefusals } from '../../attestation/core/refusal.ts';
import { auditReleaseLog, type AuditOutcome, type AuditVisitor } from '../audit/audit-log.ts';
import { recallTreeHead, rememberTreeHead } from '../audit/memory.ts';
import { fetchNewest } from '../audit/newest.ts';
import type { HeartbeatState } from '../governance/state.ts';
import type { LogTrust } from '../log/checkpoint.ts';
import type { Witnessing } from '../log/witness-policy.ts';
import { requireQuorum } from '../log/witnessed-checkpoint.ts';
import { withLogSource, type LogSourceOptions } from './log-source.ts';
import { remark } from './options.ts';
import { entryProgress } from './progress.ts';

export const auditAlarmRefusals = defineRefusals('unacceptable', {
  'audit-alarm': {
    means: 'The log is genuine, but holds entries that its own rules do not allow.',
    hint: 'Ask the operator to explain the entries that were named; keep the log as it is.',
  },
});

export interface AuditOptions extends LogSourceOptions {
  /** The auditor's memory of what was verified before. */
  readonly state?: string;
}

/** Audits the log from wherever the options say. @throws RefusalError as `auditReleaseLog` */
export async function runAudit(
  options: AuditOptions,
  trust: LogTrust,
  visitor: AuditVisitor,
): Promise<AuditOutcome> {
  const previous =
    options.state === undefined ? undefined : await recallTreeHead(options.state, trust.origin);
  return await withLogSource(options, trust, async (place) => {
    const { checkpoint, source } = await fetchNewest(place, trust);
    const progress = entryProgress('audit', Number(checkpoint.size));
    try {
      return await auditReleaseLog(source, trust, previous, {
        entry: async (followed) => {
          progress.update(followed.index + 1);
          await visitor.entry?.(followed);
        },
        alarm: (alarm) => visitor.alarm?.(alarm),
      });
    } finally {
      progress.finish();
    }
  });
}

/**
 * Ends an audit whose results were printed: the quorum, the rules, and only then what is remembered.
 *
 * @throws RefusalError `log-quorum-missing`, `audit-alarm`, `file-not-written`
 */
export async function concludeAudit(
  { checkpoint, mode, heartbeats, alarms, firstAlarm }: AuditOutcome,
  { state }: AuditOptions,
  witnesses: Witnessing,
): Promise<void> {
  remark(
    `verified: ${checkpoint.size} entries of ${checkpoint.origin} (${mode ?? 'no genesis entry'}); ` +
      'tree rebuilt from the entries, checkpoint signed by the pinned key',
  );
  remark(describeHeartbeats(heartbeats));
  if (witnesses === 'not-required') {
    // Nothing here calls that witnessed.
    remark('no witness policy was given: whether others were shown the same log is not checked');
  } else {
    const cosignatures = await requireQuorum(checkpoint, witnesses);
    remark(
      `witnessed: ${cosignatures.map(({ key, time }) => `${key.name} ${isoTime(Number(time))}`).join(', ')}`,
    );
  }
  if (firstAlarm !== undefined) {
    throw auditAlarmRefusals.error('audit-alarm', {
      field: `entry ${firstAlarm.index}`,
      expected: firstAlarm.refusal.expected,
      found: `${firstAlarm.refusal.found} (${alarms} alarms)`,
    });
  }
  if (state !== undefined) await rememberTreeHead(state, checkpoint.origin, checkpoint);
}

/** GV-87. */
function describeHeartbeats(heartbeats: HeartbeatState | undefined): string {
  const { last, longestSilence } = heartbeats ?? { last: null, longestSilence: null };
  if (last === null) return 'no heartbeats: when no server wrote to this log cannot be told';
  const newest = `heartbeats: the newest ${isoTime(last.at)}`;
  if (longestSilence === null) return newest;
  const { from, until } = longestSilence;
  return `${newest}, the longest time between two ${until - from} s, until ${isoTime(until)}`;
}

/** @param posixSeconds as the log or a witness says it; what no date can say stays a number */
export function isoTime(posixSeconds: number): string {
  const milliseconds = posixSeconds * 1000;
  if (milliseconds > 253_402_300_799_000) return `${posixSeconds} s`;
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}
