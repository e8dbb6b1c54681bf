import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import { isQuorumMet, parseWitnessPolicy } from '../../src/log/witness-policy.ts';
import { quorumTime, type VerifiedCosignature } from '../../src/log/witnessed-checkpoint.ts';
import { testWitnessSigner } from './witness-log.ts';

const NAMES = ['one', 'two', 'three', 'four'];
const keys = NAMES.map((name) => testWitnessSigner(`${name}.example`).key);

function policyOf(...rules: readonly string[]) {
  const witnesses = NAMES.map((name, i) => `witness ${name} ${formatVerifierKey(keys[i]!)}`);
  const text = [...witnesses, ...rules, ''].join('\n');
  const policy = parseWitnessPolicy(text, 'policy');
  const at = (times: readonly (number | undefined)[]): VerifiedCosignature[] =>
    times.flatMap((time, i) =>
      time === undefined ? [] : [{ key: policy.witnesses[i]!.key, time: BigInt(time) }],
    );
  return { policy, at };
}

describe('how fresh a quorum is', () => {
  const two = policyOf('group any-two 2 one two three', 'quorum any-two');

  it.each<readonly [string, readonly (number | undefined)[], bigint | undefined]>([
    ['both of two', [5, 9], 5n],
    ['the newest two of three', [1, 9, 5], 5n],
    ['too few', [9], undefined],
    ['one who does not count', [1, 2, undefined, 9], 1n],
    ['nobody', [], undefined],
  ])('WT-8: %s', (_title, times, expected) => {
    expect(quorumTime(two.policy, two.at(times))).toBe(expected);
  });

  it('WT-8: a policy that needs nobody has no time', () => {
    const { policy, at } = policyOf('quorum none');
    expect(quorumTime(policy, at([1, 2]))).toBeUndefined();
  });

  it('is the latest time from which on a quorum has cosigned', () => {
    const { policy, at } = policyOf(
      'group a 2 one two',
      'group b any three four',
      'group q any a b',
      'quorum q',
    );
    const times = fc.array(fc.option(fc.nat({ max: 9 }), { nil: undefined }), { maxLength: 4 });
    fc.assert(
      fc.property(times, (each) => {
        const cosignatures = at(each);
        const met = [...Array(10).keys()].filter((time) => {
          const fresh = cosignatures.filter((cosignature) => cosignature.time >= BigInt(time));
          const names = policy.witnesses.filter(({ key }) => fresh.some((one) => one.key === key));
          return isQuorumMet(policy, new Set(names.map(({ name }) => name)));
        });
        const latest = met.at(-1);
        expect(quorumTime(policy, cosignatures)).toBe(latest === undefined ? undefined : BigInt(latest));
      }),
      { numRuns: 200 },
    );
  });
});
