import { describe, expect, it } from 'vitest';

import type { CustodyEntry } from '../../src/governance/entries.ts';
import { decodeEntry, encodeEntry } from '../../src/governance/entries.ts';
import { applyEntry, initialState } from '../../src/governance/fold.ts';
import type { GovernanceState } from '../../src/governance/state.ts';
import { exampleTrustRoot } from '../support/governance.ts';
import { refusalCode } from '../support/refusal-code.ts';

function begin(mode: 'evaluation' | 'production'): GovernanceState {
  const origin = mode === 'evaluation' ? 'log.example/evaluation' : 'log.example';
  const trustRoot = exampleTrustRoot(mode);
  return initialState({
    version: 1,
    type: 'genesis',
    at: 1,
    origin,
    mode,
    logKey: `${origin}+00+00`,
    trustRoot,
  });
}

type Told = Partial<CustodyEntry>;

/** Entries one after another, numbered, by Vault where nothing else is said. */
function tell(state: GovernanceState, ...told: readonly Told[]): GovernanceState {
  return told.reduce((before: GovernanceState, one) => {
    const common = { version: 1, type: 'custody', at: 1, sequence: before.custody.events } as const;
    const opened = { event: 'opened', custody: 1, provider: 'vault' } as const;
    const entry = { ...common, ...opened, wrappingKeys: ['v1'], ...one };
    return applyEntry(before, decodeEntry(encodeEntry(entry)), before.size).state;
  }, state);
}

const rotated: Told = { event: 'rotated', wrappingKeys: ['v2'] };

describe('custody in the log', () => {
  it('follows the wrapping keys of a server (GV-70 to GV-74)', () => {
    const state = tell(begin('production'), {}, rotated, { event: 'retired', wrappingKeys: ['v1'] });
    expect(state.custody.open.get(1)).toEqual({ provider: 'vault', wrappingKeys: ['v2'] });
    const moved = tell(
      state,
      { custody: 2, provider: 'tpm', wrappingKeys: ['a'] },
      { event: 'ended', wrappingKeys: [] },
    );
    expect([...moved.custody.open.keys()]).toEqual([2]);
    expect(moved.custody).toMatchObject({ events: 5, lastNumber: 2 });
  });

  it('has no file custody in production (GV-72)', () => {
    expect(refusalCode(() => tell(begin('production'), { provider: 'file' }))).toBe('governance-custody');
    expect(refusalCode(() => tell(begin('evaluation'), { provider: 'file' }))).toBe('accepted');
  });

  it.each<readonly [string, readonly Told[]]>([
    ['a gap (GV-71)', [{ sequence: 1 }]],
    ['a repeat (GV-71)', [{}, { ...rotated, sequence: 0 }]],
    ['a custody opened twice (GV-73)', [{}, {}]],
    ['one that was never opened (GV-73)', [rotated]],
    ['one that has ended (GV-73)', [{}, { event: 'ended', wrappingKeys: [] }, rotated]],
    ['another provider (GV-73)', [{}, { ...rotated, provider: 'tpm' }]],
    ['two current keys (GV-74)', [{ wrappingKeys: ['v1', 'v2'] }]],
    ['a rotation to none (GV-74)', [{}, { ...rotated, wrappingKeys: [] }]],
    ['the current key retired (GV-74)', [{}, { event: 'retired', wrappingKeys: ['v1'] }]],
    ['an unknown key retired (GV-74)', [{}, rotated, { event: 'retired', wrappingKeys: ['v0'] }]],
  ])('refuses %s', (_title, told) => {
    const last = told.at(-1)!;
    const before = tell(begin('evaluation'), ...told.slice(0, -1));
    expect(refusalCode(() => tell(before, last))).toBe('governance-custody');
  });
});
