/** Whether a log is alive (docs/spec/audit.md, AU-43): an old checkpoint verifies for ever. */

import type { GovernanceState } from '../governance/state.ts';
import type { VerifiedCheckpoint } from '../log/checkpoint.ts';
import type { Witnessing } from '../log/witness-policy.ts';
import { quorumTime, verifyCosignatures } from '../log/witnessed-checkpoint.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { alarmOfRefusal, type MonitorAlarm } from './monitor-alarms.ts';

/** More than clocks of servers are apart. */
const CLOCK_TOLERANCE_SECONDS = 300;
/** As GV-87 counts a silence. */
const SILENT_INTERVALS = 2;

export interface FreshnessBounds {
  readonly witnesses: Witnessing;
  readonly maxAgeSeconds: number;
}

/** @param state after the entries of the checkpoint; @param now POSIX seconds */
export async function freshnessAlarms(
  checkpoint: VerifiedCheckpoint,
  state: GovernanceState | undefined,
  { witnesses, maxAgeSeconds }: FreshnessBounds,
  now: number,
): Promise<readonly MonitorAlarm[]> {
  const alarms = silenceAlarms(state, now);
  if (witnesses === 'not-required' || witnesses.quorum === undefined) {
    const at = state?.at;
    return at === undefined ? alarms : [...alarms, ...ageAlarms('the newest entry', at, maxAgeSeconds, now)];
  }
  try {
    const keys = witnesses.witnesses.map(({ key }) => key);
    const time = quorumTime(witnesses, await verifyCosignatures(checkpoint.note, keys));
    if (time !== undefined) {
      return [...alarms, ...ageAlarms('the quorum of cosignatures', Number(time), maxAgeSeconds, now)];
    }
    const text = `the newest checkpoint lacks the quorum ${witnesses.quorum}`;
    return [...alarms, { alarm: 'quorum-missing', text }];
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return [...alarms, alarmOfRefusal('quorum-missing', error.refusal)];
  }
}

function ageAlarms(what: string, at: number, maxAgeSeconds: number, now: number): readonly MonitorAlarm[] {
  if (at > now + CLOCK_TOLERANCE_SECONDS) return [{ alarm: 'clock', text: `${what} is ${at - now} s ahead` }];
  if (now - at <= maxAgeSeconds) return [];
  return [{ alarm: 'frozen', text: `${what} is ${now - at} s old, at most ${maxAgeSeconds} s were allowed` }];
}

/** A log that once had heartbeats and has none now: its servers have stopped, or are cut off from it. */
function silenceAlarms(state: GovernanceState | undefined, now: number): readonly MonitorAlarm[] {
  const last = state?.heartbeats.last ?? null;
  if (last === null || now - last.at <= SILENT_INTERVALS * last.intervalSeconds) return [];
  const text = `no heartbeat for ${now - last.at} s, one is due every ${last.intervalSeconds} s`;
  return [{ alarm: 'silence', text, index: last.index, at: last.at }];
}
