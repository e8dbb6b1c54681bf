/** What the log says of the life of its servers (docs/spec/governance.md section 9). */

import type { DecisionEntry, HeartbeatEntry } from './entries.ts';
import { waitingStatements } from './quorum.ts';
import { governanceRefusals } from './refusals.ts';
import type { GovernanceState, HeartbeatState, RunState } from './state.ts';

export const NO_HEARTBEATS: HeartbeatState = {
  last: null,
  decisions: { granted: 0, refused: 0 },
  runs: new Map(),
  longestSilence: null,
};

/** Another run that was not heard for this long is forgotten, so that restarts do not make the state grow (GV-82). */
const REMEMBERED_SECONDS = 7 * 86_400;

/** A gap of more than this many intervals is a silence (GV-87). */
const SILENT_INTERVALS = 2;

/** A decision was logged. */
export function countDecision(heartbeats: HeartbeatState, { outcome }: DecisionEntry): HeartbeatState {
  const decisions = { ...heartbeats.decisions, [outcome]: heartbeats.decisions[outcome] + 1 };
  return { ...heartbeats, decisions };
}

/** The heartbeats after one more, and the silence that it ended, if one did. */
export interface AppliedHeartbeat {
  readonly heartbeats: HeartbeatState;
  readonly silenceSeconds: number | undefined;
}

/**
 * @param state before the entry
 * @throws RefusalError `governance-heartbeat`
 */
export function applyHeartbeat(
  state: GovernanceState,
  entry: HeartbeatEntry,
  index: number,
): AppliedHeartbeat {
  const { last, runs, longestSilence } = state.heartbeats;
  checkAgainstLog(state, entry, index);
  checkRun(runs.get(entry.run), entry);
  checkRefusals(entry);
  const gap = last === null ? undefined : { from: last.at, until: entry.at };
  const longest = gap !== undefined && lengthOf(gap) > lengthOf(longestSilence) ? gap : longestSilence;
  const { at, run, startedAt, intervalSeconds } = entry;
  const heard = [...runs].filter(([, known]) => known.at + REMEMBERED_SECONDS > at);
  const heartbeats = {
    last: { index, at, intervalSeconds },
    decisions: { granted: 0, refused: 0 },
    runs: new Map(heard).set(run, { startedAt, at }),
    longestSilence: longest,
  };
  const isSilence = last !== null && at - last.at > SILENT_INTERVALS * last.intervalSeconds;
  return { heartbeats, silenceSeconds: isSilence ? at - last.at : undefined };
}

function lengthOf(gap: HeartbeatState['longestSilence']): number {
  return gap === null ? -1 : gap.until - gap.from;
}

/** What the log itself knows. */
function checkAgainstLog(state: GovernanceState, entry: HeartbeatEntry, index: number): void {
  const { last, decisions } = state.heartbeats;
  requireSame('previous', 'GV-80', last?.index ?? null, entry.previous);
  for (const outcome of ['granted', 'refused'] as const) {
    requireSame(`decisions.${outcome}`, 'GV-83', decisions[outcome], entry.decisions[outcome]);
  }
  requireSame('pendingStatements', 'GV-84', waitingStatements(state, entry.at), entry.pendingStatements);
  const { witnessed } = entry;
  if (witnessed !== null && witnessed.size > index) {
    refuse('witnessed.size', `at most ${index} (GV-86)`, witnessed.size);
  }
}

function checkRun(known: RunState | undefined, entry: HeartbeatEntry): void {
  const { startedAt, countedFrom, at } = entry;
  if (startedAt > at) refuse('startedAt', `at most ${at} (GV-81)`, startedAt);
  if (known !== undefined) requireSame('startedAt', 'GV-81', known.startedAt, startedAt);
  requireSame('countedFrom', 'GV-82', known?.at ?? startedAt, countedFrom);
}

function checkRefusals({ refusals }: HeartbeatEntry): void {
  const codes = refusals.map(({ code }) => code);
  const unsorted = codes.find((code, i) => i > 0 && code <= (codes[i - 1] ?? ''));
  if (unsorted !== undefined) refuse('refusals', 'codes in ascending order, each once (GV-85)', unsorted);
}

function requireSame(member: string, rule: string, expected: number | null, found: number | null): void {
  if (found !== expected) refuse(member, `${expected ?? 'null'} (${rule})`, found);
}

function refuse(member: string, expected: string, found: number | string | null): never {
  throw governanceRefusals.error('governance-heartbeat', {
    field: `heartbeat.${member}`,
    expected,
    found: String(found),
  });
}
