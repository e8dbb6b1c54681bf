import { describe, expect, it } from 'vitest';

import { freshnessAlarms } from '../../src/audit/freshness.ts';
import type { GovernanceState } from '../../src/governance/state.ts';
import { openCheckpoint } from '../../src/log/checkpoint.ts';
import { formatSignatureLine } from '../../src/log/note.ts';
import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import { parseWitnessPolicy } from '../../src/log/witness-policy.ts';
import { testWitnessSigner } from '../log/witness-log.ts';
import { readyLog } from '../support/governance.ts';
import { ServedLog } from '../support/served-log.ts';

const ready = await readyLog();
const { state } = ready;
const log = new ServedLog(state.origin, ready.entries);
const witnesses = ['a.example', 'b.example', 'c.example'].map(testWitnessSigner);
const policy = parseWitnessPolicy(
  [
    ...witnesses.map(({ key }, i) => `witness w${i} ${formatVerifierKey(key)}`),
    'group two 2 w0 w1 w2',
    'quorum two',
  ].join('\n'),
  'policy',
);
const MAX_AGE = 1000;

/** The checkpoint, cosigned by the witnesses at these times; undefined for one that is silent. */
async function cosigned(...times: readonly (number | undefined)[]) {
  let note = await log.note();
  const text = note.slice(0, note.indexOf('\n\n') + 1);
  for (const [i, time] of times.entries()) {
    const witness = witnesses[i]!;
    if (time !== undefined) {
      note += formatSignatureLine(witness.key, await witness.cosign(text, BigInt(time)));
    }
  }
  return await openCheckpoint(note, log.trust);
}

const now = state.at + 500;

async function kinds(
  times: readonly (number | undefined)[],
  bounds: Partial<Parameters<typeof freshnessAlarms>[2]> = {},
  known: GovernanceState | undefined = state,
): Promise<readonly string[]> {
  const settings = { witnesses: policy, maxAgeSeconds: MAX_AGE, ...bounds };
  return (await freshnessAlarms(await cosigned(...times), known, settings, now)).map(({ alarm }) => alarm);
}

describe('the age of a log', () => {
  it.each([
    [[now, now, now], []],
    [[now - MAX_AGE, now, undefined], []],
    // Two of three are fresh, whichever they are.
    [[now - 9 * MAX_AGE, now, now], []],
    [[now, now - MAX_AGE - 1, now - 9 * MAX_AGE], ['frozen']],
    [[now, undefined, now - MAX_AGE - 1], ['frozen']],
    [[now, undefined, undefined], ['quorum-missing']],
    [[], ['quorum-missing']],
    [[now + 300, now + 300, undefined], []],
    [[now + 301, now + 301, undefined], ['clock']],
  ])('AU-42: is that of the newest quorum: cosigned at %j it is %j', async (times, expected) => {
    expect(await kinds(times)).toEqual(expected);
  });

  it('AU-42: a witness whose line does not verify is none', async () => {
    const { note } = await cosigned(now, now);
    const [line = ''] = note.split('\n').filter((one) => one.includes('b.example'));
    const forged = `${line.slice(0, -6)}AAAAA=`;
    const checkpoint = await openCheckpoint(note.replace(line, forged), log.trust);
    const [alarm] = await freshnessAlarms(
      checkpoint,
      state,
      { witnesses: policy, maxAgeSeconds: MAX_AGE },
      now,
    );
    expect(alarm?.alarm).toBe('quorum-missing');
    expect(alarm?.code).toMatch(/^(?:log-note-signature|base64-malformed)$/);
  });

  it('AU-42: without witnesses is that of the newest entry', async () => {
    const nobody = parseWitnessPolicy('quorum none', 'policy');
    for (const demanded of ['not-required', nobody] as const) {
      expect(await kinds([], { witnesses: demanded })).toEqual([]);
      expect(await kinds([], { witnesses: demanded, maxAgeSeconds: 499 })).toEqual(['frozen']);
      expect(await kinds([], { witnesses: demanded }, { ...state, at: now + 301 })).toEqual(['clock']);
    }
  });

  it.each([
    [600, 300, []],
    [601, 300, ['silence']],
    [0, 60, []],
  ])('AU-42: %d s since a heartbeat that is due every %d s: %j', async (ago, intervalSeconds, expected) => {
    const last = { index: 3, at: now - ago, intervalSeconds };
    const known = { ...state, heartbeats: { ...state.heartbeats, last } };
    expect(await kinds([now, now], {}, known)).toEqual(expected);
  });
});
