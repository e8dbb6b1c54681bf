import { describe, expect, it } from 'vitest';
import fc from 'fast-check';

import {
  createReleasePolicyEngine,
  openReleasePolicyEngine,
  type PolicyQuestion,
} from '../../src/policy/release-policy.ts';
import { refusalCode } from '../support/refusal-code.ts';

const engine = await openReleasePolicyEngine();

const question: PolicyQuestion = {
  action: 'obtain',
  lab: { lab: 'lab-one', organisation: 'Lab One', jurisdiction: 'DE' },
  model: { manifestDigest: '00', model: 'tern', version: '1', variant: 'base', phase: 'research' },
  context: {
    purpose: 'red-teaming',
    mode: 'evaluation',
    at: 9,
    machine: { deviceClasses: ['tpm'], simulated: false },
  },
};

const compiling = (cedar: string) => refusalCode(() => engine.compile(cedar));
const permitAll = '@id("all") permit (principal, action, resource);';

describe('release policy', () => {
  it('RP-20, GV-52: no policy refuses', () => {
    expect(engine.compile('').ask(question)).toEqual({ allowed: false, reasons: [], errors: [] });
  });

  it('GV-52, GV-53: one that forbids outweighs those that permit, and is the reason', () => {
    const cedar = `${permitAll} @id("b") forbid (principal, action, resource); @id("a") forbid (principal, action, resource);`;
    expect(engine.compile(cedar).ask(question)).toEqual({ allowed: false, reasons: ['a', 'b'], errors: [] });
    expect(engine.compile(permitAll).ask(question)).toEqual({ allowed: true, reasons: ['all'], errors: [] });
  });

  it('RP-20, GV-52: an error in a policy that forbids refuses, where Cedar alone would permit', () => {
    const overflow = '9223372036854775807 + context.at > 0';
    const cedar = `${permitAll} @id("fails") forbid (principal, action, resource) when { ${overflow} };`;
    const answer = engine.compile(cedar).ask(question);
    expect(answer.allowed).toBe(false);
    expect(answer.errors).toEqual([expect.stringContaining('fails: ')]);
  });

  it('GV-51: a policy without an identifier, with an empty one or one given twice is refused', () => {
    for (const cedar of [
      'permit (principal, action, resource);',
      '@id permit (principal, action, resource);',
      '@id("") permit (principal, action, resource);',
      '@id("two words") permit (principal, action, resource);',
      `${permitAll} ${permitAll}`,
      '@id("template") permit (principal == ?principal, action, resource);',
    ]) {
      expect(compiling(cedar)).toBe('policy-not-identified');
    }
  });

  it('GV-51: what is no Cedar, or uses words that the schema does not have, is refused', () => {
    expect(compiling('permit everything')).toBe('policy-not-parsed');
    expect(compiling('@id("x") permit (principal, action, resource) when { context.nope };')).toBe(
      'policy-not-valid',
    );
    expect(compiling('@id("x") permit (principal, action, resource) when { context.at == "9" };')).toBe(
      'policy-not-valid',
    );
    expect(compiling('@id("x") permit (principal is Other, action, resource);')).toBe('policy-not-valid');
    expect(refusalCode(() => createReleasePolicyEngine('entity'))).toBe('policy-not-parsed');
  });

  it('GV-52: a question that does not fit the schema refuses', () => {
    const program = engine.compile(permitAll);
    const answer = program.ask({ ...question, action: 'other' as 'obtain' });
    expect(answer.allowed).toBe(false);
    expect(answer.errors).not.toEqual([]);
    const strange = { ...question.context, at: 'now' as unknown as number };
    expect(program.ask({ ...question, context: strange }).allowed).toBe(false);
  });

  it('any other text is refused, and only by refusals', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (text) => {
        expect(compiling(text)).toBeTypeOf('string');
      }),
    );
    fc.assert(
      fc.property(fc.nat(permitAll.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, piece) => {
        expect(compiling(permitAll.slice(0, at) + piece + permitAll.slice(at + 1))).toBeTypeOf('string');
      }),
    );
  });
});
