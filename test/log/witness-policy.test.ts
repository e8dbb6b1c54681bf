import { ed25519 } from '@noble/curves/ed25519.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { sha256 } from '../../src/log/sha256.ts';
import { toUtf8 } from '../../attestation/core/bytes.ts';
import { formatVerifierKey, makeVerifierKey } from '../../src/log/verifier-key.ts';
import {
  isQuorumMet,
  parseWitnessPolicy,
  requirePolicyForLog,
  type WitnessPolicy,
} from '../../src/log/witness-policy.ts';
import { refusalCode } from '../support/refusal-code.ts';

const witnessKey = (name: string): string => {
  const publicKey = ed25519.getPublicKey(sha256(toUtf8(name)));
  return formatVerifierKey(makeVerifierKey(name, 'ed25519-cosignature', publicKey));
};
const logKey = (name: string) => makeVerifierKey(name, 'ed25519', ed25519.getPublicKey(sha256(toUtf8(name))));

const A = `witness a ${witnessKey('a.example')}`;
const B = `witness b ${witnessKey('b.example')} https://b.example/prefix`;
const LOG = `log ${formatVerifierKey(logKey('log.example'))}`;

const parse = (...lines: readonly string[]): WitnessPolicy => parseWitnessPolicy(lines.join('\n'), 'policy');
const codeOf = (...lines: readonly string[]): string => refusalCode(() => parse(...lines));

describe('witness policies', () => {
  it('WT-6: are lines of fields, with comments and empty lines between', () => {
    const policy = parse('# who is trusted', '', LOG, `\t${A}  `, B, 'group g any a b', 'quorum g', '');
    expect(policy.witnesses.map(({ name, url }) => [name, url])).toEqual([
      ['a', undefined],
      ['b', 'https://b.example/prefix'],
    ]);
    expect(policy.logs[0]?.key.name).toBe('log.example');
    expect(isQuorumMet(policy, new Set(['b']))).toBe(true);
    expect(isQuorumMet(policy, new Set())).toBe(false);
  });

  it.each([
    ['no quorum', [A]],
    ['two quorums', [A, 'quorum a', 'quorum a']],
    ['a quorum that is not defined', [A, 'quorum b']],
    ['a name twice', [A, B.replace(' b ', ' a '), 'quorum a']],
    ['a key twice', [A, A.replace(' a ', ' b '), 'quorum a']],
    ['the name none', [A.replace(' a ', ' none '), 'quorum none']],
    ['a member that comes later', ['group g all a', A, 'quorum g']],
    ['a member of two groups', [A, B, 'group g all a', 'group h all a b', 'quorum h']],
    ['a member twice', [A, 'group g 1 a a', 'quorum g']],
    ['a threshold of zero', [A, 'group g 0 a', 'quorum g']],
    ['a threshold with a leading zero', [A, 'group g 01 a', 'quorum g']],
    ['a threshold above the members', [A, 'group g 2 a', 'quorum g']],
    ['a group of nobody', ['group g all', 'quorum g']],
    ['a field too many', [`${B} more`, 'quorum b']],
    ['a log key that is a witness key', [`log ${witnessKey('x')}`, 'quorum none']],
    ['a witness key that is a log key', [`witness x ${formatVerifierKey(logKey('x'))}`, 'quorum x']],
    ['a word that is none', ['trust everybody', 'quorum none']],
    ['a carriage return', [`${A}\r`, 'quorum a']],
    ['more than it may hold', [`# ${'x'.repeat(70_000)}`, 'quorum none']],
  ])('WT-6, WT-7: %s is refused', (_what, lines) => {
    expect(codeOf(...lines)).toBe('witness-policy-malformed');
  });

  it('WT-8: a quorum of groups is counted by groups', () => {
    const names = ['a', 'b', 'c', 'd'];
    const policy = parse(
      ...names.map((name) => `witness ${name} ${witnessKey(name)}`),
      'group left all a b',
      'group right any c d',
      'group both 2 left right',
      'quorum both',
    );
    fc.assert(
      fc.property(fc.subarray(names), (cosigned) => {
        const has = (name: string) => cosigned.includes(name);
        const expected = has('a') && has('b') && (has('c') || has('d'));
        expect(isQuorumMet(policy, new Set(cosigned))).toBe(expected);
      }),
    );
    expect(isQuorumMet(policy, new Set(['left', 'right', 'both']))).toBe(false);
  });

  it('WT-9: a policy that names logs is for those logs', () => {
    const other = [logKey('other.example')];
    expect(
      refusalCode(() => {
        requirePolicyForLog(parse(LOG, 'quorum none'), other, 'policy');
      }),
    ).toBe('witness-policy-log');
    requirePolicyForLog(parse(LOG, 'quorum none'), [logKey('log.example')], 'policy');
    requirePolicyForLog(parse(A, 'quorum a'), other, 'policy');
  });

  it('WT-6: whatever stands in a policy, it is read or refused', () => {
    const words = fc.constantFrom(
      'log',
      'witness',
      'group',
      'quorum',
      'none',
      'all',
      'any',
      '2',
      'a',
      'g',
      witnessKey('a'),
    );
    const line = fc.oneof(
      fc.array(words, { maxLength: 6 }).map((parts) => parts.join(' ')),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
        expect(codeOf(...lines)).toMatch(
          /^(?:accepted|witness-policy-malformed|log-key-malformed|base64-malformed|hex-malformed)$/,
        );
      }),
      { numRuns: 300 },
    );
  });
});
