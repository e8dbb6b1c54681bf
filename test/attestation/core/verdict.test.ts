import { describe, expect, it } from 'vitest';

import { defineRefusals, isRefusal } from '../../../attestation/core/refusal.ts';
import { isTrusted, markTrusted } from '../../../attestation/core/trusted.ts';
import { Checklist, defineChecks, judge } from '../../../attestation/core/verdict.ts';
import { refusalOf, refusalOfAsync } from '../../support/refusal-code.ts';

const authenticity = defineChecks('inauthentic', {
  'test-signature': { means: 'Not signed.', hint: 'Sign it.', protects: 'Forgery.' },
});
const appraisal = defineChecks('unacceptable', {
  'test-version': { means: 'Too old.', hint: 'Update it.', protects: 'Old flaws.' },
});
const facts = { field: 'a', expected: 'b', found: 'c' };

describe('a list of checks', () => {
  it('EV-4: notes what passed and what failed, and goes on', () => {
    const checks: Checklist = new Checklist();
    checks.note(appraisal, 'test-version', true, facts);
    checks.note(authenticity, 'test-signature', false, { ...facts, found: 'd' });
    expect(checks.checks).toEqual([
      { id: 'test-version', outcome: 'passed', ...facts, protects: 'Old flaws.' },
      { id: 'test-signature', outcome: 'failed', ...facts, found: 'd', protects: 'Forgery.' },
    ]);
    const refusal = { code: 'test-signature', ...facts, found: 'd', hint: 'Sign it.' };
    expect(checks.failed).toEqual([{ family: 'inauthentic', refusal }]);
  });

  it('EV-4: ends at a demand that fails, which is refused once', () => {
    const checks: Checklist = new Checklist();
    checks.demand(appraisal, 'test-version', true, facts);
    checks.note(appraisal, 'test-version', false, facts);
    const action = (): void => {
      checks.demand(authenticity, 'test-signature', false, facts);
    };
    expect(refusalOf(action)).toEqual({ code: 'test-signature', ...facts, hint: 'Sign it.' });
    expect(checks.failed.map(({ refusal }) => refusal.code)).toEqual(['test-version']);
    expect(checks.checks.map(({ outcome }) => outcome)).toEqual(['passed', 'failed', 'failed']);
  });
});

describe('an attempt', () => {
  const wanted = { field: 'chain', expected: 'a path' };

  it('EV-4: passes with what it gives', async () => {
    const checks: Checklist = new Checklist();
    expect(await checks.attempt(authenticity, 'test-signature', wanted, () => Promise.resolve(7))).toBe(7);
    expect(checks.checks).toEqual([
      { id: 'test-signature', outcome: 'passed', ...wanted, found: 'as expected', protects: 'Forgery.' },
    ]);
    expect(checks.failed).toEqual([]);
  });

  it('EV-4: fails with the refusal of another part', async () => {
    const checks: Checklist = new Checklist();
    const action = () =>
      checks.attempt(authenticity, 'test-signature', wanted, () => {
        throw appraisal.error('test-version', facts);
      });
    expect(await refusalOfAsync(action)).toMatchObject({ code: 'test-version' });
    expect(checks.checks).toEqual([
      {
        id: 'test-signature',
        outcome: 'failed',
        ...wanted,
        found: 'test-version: a: expected b, found c',
        protects: 'Forgery.',
      },
    ]);
  });

  it('EV-5: shows nothing of a defect', async () => {
    const checks: Checklist = new Checklist();
    const defect = () => Promise.reject(new RangeError('secret'));
    const attempt = checks.attempt(authenticity, 'test-signature', wanted, defect);
    await expect(attempt).rejects.toThrow(RangeError);
    expect(checks.checks).toMatchObject([{ outcome: 'failed', found: 'an error' }]);
  });
});

describe('a verdict', () => {
  it('EV-4: accepts what passed every check, and freezes it', async () => {
    const claims = { any: 1 };
    const verdict = await judge((checks: Checklist) => {
      checks.note(appraisal, 'test-version', true, facts);
      return claims;
    });
    if (verdict.outcome !== 'accepted') throw new Error('refused');
    expect(verdict.claims).toBe(claims);
    expect(verdict.checks).toHaveLength(1);
    expect([isTrusted(claims), Object.isFrozen(claims)]).toEqual([true, true]);
    expect(isTrusted({ any: 1 })).toBe(false);
    expect(isTrusted(markTrusted({}))).toBe(true);
  });

  it('EV-4: is of the family of what failed first, with all that failed', async () => {
    const verdict = await judge((checks: Checklist) => {
      checks.note(appraisal, 'test-version', false, facts);
      checks.note(appraisal, 'test-version', true, facts);
      checks.demand(authenticity, 'test-signature', false, facts);
      return {};
    });
    expect(verdict).toEqual({
      outcome: 'refused',
      family: 'unacceptable',
      refusals: [
        { code: 'test-version', ...facts, hint: 'Update it.' },
        { code: 'test-signature', ...facts, hint: 'Sign it.' },
      ],
      checks: [
        { id: 'test-version', outcome: 'failed', ...facts, protects: 'Old flaws.' },
        { id: 'test-version', outcome: 'passed', ...facts, protects: 'Old flaws.' },
        { id: 'test-signature', outcome: 'failed', ...facts, protects: 'Forgery.' },
      ],
    });
  });

  it('EV-4: refuses by a refusal without a check', async () => {
    const verdict = await judge(() => {
      throw authenticity.error('test-signature', facts);
    });
    expect(verdict).toMatchObject({ outcome: 'refused', family: 'inauthentic', checks: [] });
  });
});

describe('a family of refusals', () => {
  const family = defineRefusals('usage', { 'test-usage': { means: 'Wrong.', hint: 'Ask otherwise.' } });

  it('makes data and errors that say the same', () => {
    const cause = new Error('why');
    const error = family.error('test-usage', facts, { cause });
    expect(error).toMatchObject({ name: 'RefusalError', family: 'usage', cause });
    expect(error.refusal).toEqual(family.refusal('test-usage', facts));
    expect(error.refusal).toEqual({ code: 'test-usage', ...facts, hint: 'Ask otherwise.' });
    expect(error.message).toBe('test-usage: a: expected b, found c');
    expect([isRefusal(error), isRefusal(cause), isRefusal('text')]).toEqual([true, false, false]);
    expect(family.codes).toHaveProperty('test-usage');
  });
});
