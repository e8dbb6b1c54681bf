import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { decodeEntry, encodeEntry, type HeartbeatEntry } from '../../src/governance/entries.ts';
import { replay } from '../../src/governance/fold.ts';
import {
  DAY,
  ExampleLog,
  exampleGrant,
  examplePredicates,
  readyLog,
  signers,
  START,
} from '../support/governance.ts';
import { refusalCode } from '../support/refusal-code.ts';

const HOUR = 3600;
const RUN = '0a'.repeat(16);
const OTHER_RUN = '0b'.repeat(16);

/** A heartbeat that is right at this place, apart from what is changed. */
function heartbeat({ state, at }: ExampleLog, changes: Partial<HeartbeatEntry> = {}): HeartbeatEntry {
  const run = changes.run ?? RUN;
  const { last, decisions, runs } = state.heartbeats;
  const known = runs.get(run);
  return {
    version: 1,
    type: 'heartbeat',
    at,
    previous: last?.index ?? null,
    run,
    startedAt: known?.startedAt ?? at,
    countedFrom: known?.at ?? at,
    intervalSeconds: HOUR,
    serverBuild: 'test',
    decisions,
    pendingStatements: 0,
    handedOut: { challenges: 4, enrolments: 0 },
    refusals: [
      { code: 'json-malformed', count: 7 },
      { code: 'route-unknown', count: 1 },
    ],
    witnessed: null,
    ...changes,
  };
}

/** What becomes of it after an hour. */
function afterAnHour(log: ExampleLog, changes: Partial<HeartbeatEntry> = {}): string {
  log.at += HOUR;
  return refusalCode(() => log.append(heartbeat(log, changes)));
}

function startedLog(): ExampleLog {
  const log = new ExampleLog();
  log.append(heartbeat(log));
  return log;
}

describe('heartbeats', () => {
  it('GV-80, GV-82: follow each other, and a replay arrives at the same state', () => {
    const log = startedLog();
    expect(afterAnHour(log)).toBe('accepted');
    expect(log.state.heartbeats).toEqual({
      last: { index: 2, at: START + HOUR, intervalSeconds: HOUR },
      decisions: { granted: 0, refused: 0 },
      runs: new Map([[RUN, { startedAt: START, at: START + HOUR }]]),
      longestSilence: { from: START, until: START + HOUR },
    });
    expect(replay(log.entries)).toEqual(log.state);
  });

  it.each<readonly [string, Partial<HeartbeatEntry>]>([
    ['GV-80: none before', { previous: null }],
    ['GV-80: another before', { previous: 0 }],
    ['GV-81: a run that began later', { run: OTHER_RUN, startedAt: START + 2 * HOUR }],
    ['GV-81: a run that began at another time', { startedAt: START - 1 }],
    ['GV-82: hours that nobody counted', { countedFrom: START + 1 }],
    ['GV-82: hours that were counted before', { countedFrom: START - 1 }],
    [
      'GV-82: a new run that counts from another time',
      { run: OTHER_RUN, startedAt: START, countedFrom: START + 1 },
    ],
    ['GV-83: a grant that is not in the log', { decisions: { granted: 1, refused: 0 } }],
    ['GV-83: a refusal that is not in the log', { decisions: { granted: 0, refused: 1 } }],
    ['GV-84: a statement that does not wait', { pendingStatements: 1 }],
    ['GV-85: a code twice', { refusals: ['a', 'a'].map((code) => ({ code, count: 1 })) }],
    ['GV-85: codes out of order', { refusals: ['b', 'a'].map((code) => ({ code, count: 1 })) }],
    ['GV-86: more witnessed than logged', { witnessed: { size: 3, at: START } }],
  ])('refuse %s', (_title, changes) => {
    const log = startedLog();
    const before = log.state;
    expect(afterAnHour(log, changes)).toBe('governance-heartbeat');
    expect(log.state).toBe(before);
  });

  it('GV-82: several runs share a log, each counting for itself', () => {
    const log = startedLog();
    log.at += 60;
    log.append(heartbeat(log, { run: OTHER_RUN, startedAt: START + 30, countedFrom: START + 30 }));
    log.at += HOUR - 60;
    log.append(heartbeat(log));
    log.at += 60;
    expect(refusalCode(() => log.append(heartbeat(log, { run: OTHER_RUN })))).toBe('accepted');
    expect([...log.state.heartbeats.runs.keys()].sort()).toEqual([RUN, OTHER_RUN]);
  });

  it('GV-82: a run that was not heard for a week is forgotten', () => {
    const log = startedLog();
    log.at += 7 * DAY;
    log.append(heartbeat(log, { run: OTHER_RUN }));
    expect([...log.state.heartbeats.runs.keys()]).toEqual([OTHER_RUN]);
    expect(afterAnHour(log, { startedAt: START, countedFrom: START })).toBe('accepted');
  });

  it('GV-83: count the decisions of the log since the one before', async () => {
    const log = await readyLog();
    log.append(exampleGrant(log.state, log.at));
    log.append(heartbeat(log, { decisions: { granted: 1, refused: 0 } }));
    const grant = exampleGrant(log.state, log.at);
    log.append({ ...grant, outcome: 'refused', lease: null, refusals: [{ code: 'a', field: 'b' }] });
    expect(afterAnHour(log, { decisions: { granted: 1, refused: 0 } })).toBe('governance-heartbeat');
    expect(afterAnHour(log, { decisions: { granted: 0, refused: 1 } })).toBe('accepted');
    expect(afterAnHour(log, { decisions: { granted: 0, refused: 0 } })).toBe('accepted');
  });

  it('GV-84: count the statements that wait, until they lapse', async () => {
    const log = startedLog();
    await log.say('model-version/v1', examplePredicates.model, [signers.anna]);
    expect(afterAnHour(log)).toBe('governance-heartbeat');
    expect(afterAnHour(log, { pendingStatements: 1 })).toBe('accepted');
    log.at = START + 30 * DAY;
    expect(refusalCode(() => log.append(heartbeat(log, { pendingStatements: 1 })))).toBe('accepted');
    expect(afterAnHour(log, { pendingStatements: 1 })).toBe('governance-heartbeat');
    expect(afterAnHour(log)).toBe('accepted');
  });

  it('GV-86: all of the log before the entry may be witnessed', () => {
    expect(afterAnHour(startedLog(), { witnessed: { size: 2, at: 0 } })).toBe('accepted');
  });

  it('GV-87: a gap of more than two intervals is shown, and the longest is kept', () => {
    const log = startedLog();
    log.at += 2 * HOUR;
    expect(log.append(heartbeat(log))).toEqual([]);
    log.at += 2 * HOUR + 1;
    expect(log.append(heartbeat(log))).toEqual([{ effect: 'silence-ended', seconds: 2 * HOUR + 1 }]);
    expect(afterAnHour(log)).toBe('accepted');
    const until = START + 4 * HOUR + 1;
    expect(log.state.heartbeats.longestSilence).toEqual({ from: START + 2 * HOUR, until });
  });
});

describe('the form of a heartbeat', () => {
  const entry = heartbeat(new ExampleLog());

  it.each<readonly [string, object]>([
    ['a code that is none', { refusals: [{ code: 'Not A Code', count: 1 }] }],
    ['a code without end', { refusals: [{ code: 'a'.repeat(65), count: 1 }] }],
    ['a count of nothing', { refusals: [{ code: 'a', count: 0 }] }],
    [
      'more codes than are counted',
      { refusals: Array.from({ length: 258 }, () => ({ code: 'a', count: 1 })) },
    ],
    ['a count that is no number', { handedOut: { challenges: '1', enrolments: 0 } }],
    ['a negative count', { decisions: { granted: -1, refused: 0 } }],
    ['an interval of seconds', { intervalSeconds: 59 }],
    ['an interval of days', { intervalSeconds: 86_401 }],
    ['a run without a name', { run: '' }],
  ])('refuses %s', (_title, changes) => {
    const bytes = encodeCanonicalJson({ ...entry, ...changes });
    expect(refusalCode(() => decodeEntry(bytes))).toBe('shape-mismatch');
  });

  it('RP-37: the largest one fits into an entry many times', () => {
    const refusals = Array.from({ length: 257 }, (_, i) => ({
      code: String(i).padStart(64, '0'),
      count: Number.MAX_SAFE_INTEGER,
    }));
    expect(encodeEntry({ ...entry, refusals }).length).toBeLessThan(32_768);
  });

  it('W11: what reads has one byte form, whatever bytes are changed', () => {
    const bytes = encodeEntry(entry);
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (place, flip) => {
        const changed = bytes.map((byte, i) => (i === place ? byte ^ flip : byte));
        let read;
        try {
          read = decodeEntry(changed);
        } catch {
          return;
        }
        expect(encodeEntry(read)).toEqual(changed);
      }),
      { numRuns: 300 },
    );
  });
});
