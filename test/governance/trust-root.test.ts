import { describe, expect, it } from 'vitest';

import { encodeEntry } from '../../src/governance/entries.ts';
import { initialState } from '../../src/governance/fold.ts';
import { checkTrustRoot, defaultEdges, type TrustRoot } from '../../src/governance/trust-root.ts';
import { DAY, exampleGenesis, exampleTrustRoot } from '../support/governance.ts';
import { refusalCode } from '../support/refusal-code.ts';

function checkChanged(change: (root: TrustRoot) => void, mode: 'evaluation' | 'production' = 'evaluation') {
  const root = structuredClone(exampleTrustRoot(mode));
  change(root);
  return refusalCode(() => {
    checkTrustRoot(root);
  });
}

describe('trust root', () => {
  it('is accepted with its defaults in both modes', () => {
    expect(checkChanged(() => undefined)).toBe('accepted');
    expect(checkChanged(() => undefined, 'production')).toBe('accepted');
    expect(defaultEdges('production').map(({ reviewSeconds }) => reviewSeconds / DAY)).toEqual([30, 90, 90]);
  });

  it('GV-10, GV-11: refuses a person or a key that stands there twice', () => {
    expect(checkChanged(({ persons }) => (persons[1]!.person = 'anna'))).toBe('governance-trust-root');
    expect(checkChanged(({ persons }) => persons[1]!.publicKeys.push(persons[0]!.publicKeys[0]!))).toBe(
      'governance-trust-root',
    );
  });

  it('GV-12: refuses a quorum that nobody can meet', () => {
    expect(checkChanged(({ quorum }) => (quorum['resume/v1'] = { role: 'auditor', persons: 2 }))).toBe(
      'governance-trust-root',
    );
    expect(
      checkChanged(({ quorum }) => (quorum['resume/v1'] = { role: 'release-manager', persons: 4 })),
    ).toBe('governance-trust-root');
  });

  it('GV-12: refuses a quorum of one, and a kind of statement without a quorum', () => {
    const genesis = structuredClone(exampleGenesis());
    genesis.trustRoot.quorum['promotion/v1'].persons = 1;
    expect(refusalCode(() => encodeEntry(genesis))).toBe('shape-mismatch');
    const { 'resume/v1': _resume, ...quorum } = exampleGenesis().trustRoot.quorum;
    const without = { ...exampleGenesis(), trustRoot: { ...exampleTrustRoot(), quorum } };
    expect(refusalCode(() => encodeEntry(without as never))).toBe('shape-mismatch');
  });

  it('GV-13: refuses reviews below the floor, and a production floor below 30 days', () => {
    expect(checkChanged((root) => (root.reviewFloorSeconds = 30 * DAY - 1), 'production')).toBe(
      'governance-trust-root',
    );
    expect(checkChanged(({ edges }) => (edges[0]!.reviewSeconds = 30 * DAY - 1), 'production')).toBe(
      'governance-trust-root',
    );
    expect(checkChanged((root) => (root.reviewFloorSeconds = 1))).toBe('governance-trust-root');
  });

  it('GV-14: refuses an edge that skips, goes down, stays or stands there twice', () => {
    for (const [from, to] of [
      ['sealed', 'enterprise'],
      ['research', 'sealed'],
      ['public', 'public'],
      ['research', 'enterprise'],
    ] as const) {
      expect(checkChanged(({ edges }) => (edges[2] = { from, to, reviewSeconds: 0 }))).toBe(
        'governance-trust-root',
      );
    }
  });

  it('GV-2, RP-5: genesis agrees with itself', () => {
    const start = (change: object) => refusalCode(() => initialState({ ...exampleGenesis(), ...change }));
    expect(start({})).toBe('accepted');
    expect(start({ mode: 'production' })).toBe('governance-genesis');
    expect(start({ origin: 'example.org' })).toBe('governance-genesis');
    expect(start({ logKey: 'other.example/evaluation+0+A' })).toBe('governance-genesis');
    expect(start({ trustRoot: exampleTrustRoot('production') })).toBe('governance-genesis');
    const production = { ...exampleGenesis('production'), origin: 'example.org/evaluation' };
    expect(refusalCode(() => initialState(production))).toBe('governance-genesis');
  });
});
