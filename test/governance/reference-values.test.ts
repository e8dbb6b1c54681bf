import { createHash } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import {
  isInRollout,
  issueOf,
  referenceValuesDigestOf,
  referenceValuesFor,
  standingReferenceValues,
} from '../../src/governance/reference-values.ts';
import { DAY, ExampleLog, examplePredicates as examples, predicateOf, START } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';

const MACHINE = `tpm/${'11'.repeat(32)}`;

/** Reference values with an owner, an end and a share; `mark` tells them apart. */
function staged(epoch: number, mark: string, change: object = {}) {
  return {
    ...examples.referenceValues,
    owner: 'Example vendor',
    validFrom: START,
    validUntil: START + 100 * DAY,
    rolloutPercent: 100,
    epoch,
    values: { mark },
    ...change,
  };
}

const say = (log: ExampleLog, ...args: Parameters<typeof staged>) =>
  log.say('reference-values/v2', staged(...args));

/** Marks of the values that count. */
function marks(log: ExampleLog, at = log.at, machine = MACHINE): readonly unknown[] {
  return referenceValuesFor(log.state, 'tpm', { at, machine }).map(
    ({ values }) => (values as { readonly mark: string }).mark,
  );
}

/** A percentage with which the machine is out, and the next one, with which it is in. */
function edgeOf(machine: string, name: string): readonly [out: number, into: number] {
  const issue = issueOf(predicateOf('reference-values/v2', staged(1, 'any', { name })));
  for (let percent = 1; percent <= 100; percent += 1) {
    if (isInRollout({ ...issue, rolloutPercent: percent }, machine)) return [percent - 1, percent];
  }
  throw new Error('no machine is left out of 100 %');
}

describe('validity of reference values', () => {
  it('GV-63: before and after it they are not there, at its borders as written', async () => {
    const log = new ExampleLog();
    await say(log, 1, 'a', { validFrom: START + DAY, validUntil: START + 2 * DAY });
    expect(marks(log, START + DAY - 1)).toEqual([]);
    expect(marks(log, START + DAY)).toEqual(['a']);
    expect(marks(log, START + 2 * DAY - 1)).toEqual(['a']);
    expect(marks(log, START + 2 * DAY)).toEqual([]);
  });

  it('GV-61: what has ended, or ends before it begins, never comes into force', async () => {
    const log = new ExampleLog();
    const stale = { validUntil: START };
    expect(await refusalCodeAsync(() => say(log, 1, 'a', stale))).toBe('governance-reference-validity');
    const backwards = { validFrom: START + 2 * DAY, validUntil: START + 2 * DAY };
    expect(await refusalCodeAsync(() => say(log, 1, 'a', backwards))).toBe('governance-reference-validity');
    expect(log.state.referenceValues.size).toBe(0);
    expect(await refusalCodeAsync(() => say(log, 1, 'a', { validUntil: START + 1 }))).toBe('accepted');
  });

  it('GV-62: the values of before count until those of later begin, and do not come back', async () => {
    const log = new ExampleLog();
    await say(log, 1, 'a');
    await say(log, 2, 'b', { validFrom: START + DAY, validUntil: START + 2 * DAY });
    expect(marks(log, START)).toEqual(['a']);
    expect(marks(log, START + DAY)).toEqual(['b']);
    expect(marks(log, START + 2 * DAY)).toEqual([]);
  });

  it('GV-60: version 1 has no end and counts for every machine', async () => {
    const log = new ExampleLog();
    await log.say('reference-values/v1', { ...examples.referenceValues, values: { mark: 'old' } });
    expect(marks(log, START + 10_000 * DAY)).toEqual(['old']);
    await say(log, 2, 'new');
    expect(marks(log)).toEqual(['new']);
    const again = { ...examples.referenceValues, epoch: 3, values: { mark: 'again' } };
    await log.say('reference-values/v1', again);
    expect(marks(log)).toEqual(['again']);
  });
});

describe('roll-out of reference values', () => {
  const [out, into] = edgeOf(MACHINE, examples.referenceValues.name);

  it('GV-63: counts for the machines of the share, beside the values of before', async () => {
    expect(out).toBeGreaterThan(0);
    for (const [rolloutPercent, expected] of [
      [out, ['a']],
      [into, ['a', 'b']],
    ] as const) {
      const log = new ExampleLog();
      await say(log, 1, 'a');
      await say(log, 2, 'b', { rolloutPercent });
      expect(marks(log)).toEqual(expected);
    }
  });

  it('GV-62: a new stage replaces the stage before, a whole roll-out everything', async () => {
    const log = new ExampleLog();
    await say(log, 1, 'a');
    await say(log, 2, 'b', { rolloutPercent: into });
    await say(log, 3, 'c', { rolloutPercent: into });
    expect(marks(log)).toEqual(['a', 'c']);
    await say(log, 4, 'd');
    expect(marks(log)).toEqual(['d']);
    expect(standingReferenceValues(log.state)).toHaveLength(1);
  });

  it('GV-32: epochs rise over stages too', async () => {
    const log = new ExampleLog();
    await say(log, 1, 'a');
    await say(log, 5, 'b', { rolloutPercent: 1 });
    expect(await refusalCodeAsync(() => say(log, 5, 'c'))).toBe('governance-epoch-stale');
    expect(await refusalCodeAsync(() => say(log, 6, 'c'))).toBe('accepted');
  });

  it('GV-64: a machine stays in a share that grows, and 100 % is every machine', () => {
    const issue = issueOf(predicateOf('reference-values/v2', staged(1, 'a')));
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 99 }), (machine, percent) => {
        const isIn = (rolloutPercent: number): boolean => isInRollout({ ...issue, rolloutPercent }, machine);
        expect(!isIn(percent) || isIn(percent + 1)).toBe(true);
        expect(isIn(100)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('GV-64: the share is the machine’s part of 2³², by a formula that anybody can compute', () => {
    const issue = issueOf(predicateOf('reference-values/v2', staged(1, 'a', { name: 'b' })));
    let inside = 0;
    for (let i = 0; i < 2000; i += 1) {
      const machine = `sev-snp/${i}`;
      const text = JSON.stringify(['weightgate/roll-out/v1', 'tpm', 'b', machine]);
      const drawn = createHash('sha256').update(text).digest().readUInt32BE(0);
      const isIn = isInRollout({ ...issue, rolloutPercent: 25 }, machine);
      expect(isIn).toBe(drawn < 2 ** 30);
      if (isIn) inside += 1;
    }
    expect(Math.abs(inside / 2000 - 0.25)).toBeLessThan(0.05);
  });

  it('GV-60: the share is a whole number of percent from 1 to 100', async () => {
    for (const rolloutPercent of [0, 101, 0.5, -1]) {
      const refused = () => say(new ExampleLog(), 1, 'a', { rolloutPercent });
      expect(await refusalCodeAsync(refused)).toBe('shape-mismatch');
    }
  });

  it('GV-31: the digest of a decision covers all that stands, stages included', async () => {
    const log = new ExampleLog();
    await say(log, 1, 'a');
    const alone = referenceValuesDigestOf(log.state);
    await say(log, 2, 'b', { rolloutPercent: 1 });
    const digests = standingReferenceValues(log.state).map(({ payloadDigest }) => payloadDigest);
    expect(digests).toHaveLength(2);
    const expected = createHash('sha256').update(encodeCanonicalJson(digests)).digest('hex');
    expect(referenceValuesDigestOf(log.state)).toBe(expected);
    expect(expected).not.toBe(alone);
  });
});
