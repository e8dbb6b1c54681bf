import { createHash } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { RefusalError } from '../../attestation/core/refusal.ts';
import { statementEntry, type StatementEntry } from '../../src/governance/entries.ts';
import { PHASES } from '../../src/governance/fields.ts';
import { applyEntry, replay } from '../../src/governance/fold.ts';
import type { PredicateName } from '../../src/governance/predicates.ts';
import { standingReferenceValues } from '../../src/governance/reference-values.ts';
import { holdsOn, type Effect, type GovernanceState } from '../../src/governance/state.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import { encodeStatement } from '../../src/platform/dsse.ts';
import type { Ed25519Signer } from '../../src/platform/ed25519.ts';
import {
  DAY,
  digestOf,
  ExampleLog,
  exampleGenesis,
  examplePredicates as examples,
  predicateOf,
  signers,
} from '../support/governance.ts';

/** Two model versions, so that what happens to one can be seen not to touch the other. */
const models = ['manifest', 'other manifest'].map(digestOf);

const model = fc.constantFrom(...models);
const phase = fc.constantFrom(...PHASES);
const statedAt = fc.integer({ min: 0, max: 1 });

/** What the holds below will be called, so that resumes can name them. */
const holdDigests = models.flatMap((id) =>
  [0, 1].map((time) => {
    const hold = { ...examples.hold, target: { kind: 'model', id }, statedAt: time };
    const payload = encodeStatement(makeStatement('hold/v1', predicateOf('hold/v1', hold)));
    return createHash('sha256').update(payload).digest('hex');
  }),
);

const statement: fc.Arbitrary<readonly [PredicateName, unknown]> = fc.oneof(
  fc
    .record({ manifestDigest: model, statedAt })
    .map(
      (change) =>
        ['model-version/v1', { ...examples.model, model: change.manifestDigest, ...change }] as const,
    ),
  fc
    .record({ manifestDigest: model, from: phase, to: phase, statedAt })
    .map((change) => ['promotion/v1', { ...examples.toResearch, ...change }] as const),
  fc
    .record({ target: model.map((id) => ({ kind: 'model', id })), statedAt })
    .map((change) => ['hold/v1', { ...examples.hold, ...change }] as const),
  fc
    .record({ holds: fc.constantFrom(...holdDigests).map((hold) => [hold]), statedAt })
    .map((change) => ['resume/v1', { reason: 'resolved', ...change }] as const),
  fc
    .record({ epoch: fc.integer({ min: 1, max: 3 }), statedAt })
    .map((change) => ['release-policy/v1', { ...examples.releasePolicy, ...change }] as const),
);

interface Step {
  readonly statement: readonly [PredicateName, unknown];
  readonly by: Ed25519Signer;
  readonly waitDays: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  statement,
  by: fc.constantFrom(...Object.values(signers)),
  waitDays: fc.constantFrom(0, 0, 0, 1, 29, 45, 90),
});

async function entryOf({ statement: [name, predicate], by }: Step, at: number): Promise<StatementEntry> {
  const [envelope] = await signByEach(makeStatement(name, predicateOf(name, predicate)), [by]);
  return statementEntry(at, envelope!);
}

/** Plays steps against a log; refused ones are dropped, as the server drops them. */
async function play(
  steps: readonly Step[],
  watch: (before: GovernanceState, effects: readonly Effect[], log: ExampleLog) => void,
): Promise<ExampleLog> {
  const log = new ExampleLog(exampleGenesis('production'));
  for (const one of steps) {
    log.at += one.waitDays * DAY;
    const before = log.state;
    const snapshot = structuredClone(before);
    try {
      const effects = log.append(await entryOf(one, log.at));
      watch(before, effects, log);
    } catch (error) {
      if (!(error instanceof RefusalError)) throw error;
      expect(log.state).toBe(before);
    }
    expect(before).toEqual(snapshot);
  }
  return log;
}

const steps = fc.array(step, { minLength: 1, maxLength: 40 });
const runs = { numRuns: 60 };

describe('the fold over any order of events', () => {
  it('GV-28, GV-29: a version rises by one edge at a time, after its review, and never under a hold', async () => {
    let promotions = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (events) => {
        await play(events, (before, effects, log) => {
          for (const effect of effects) {
            if (effect.effect !== 'model-promoted') continue;
            promotions += 1;
            const { phase: from, phaseSince } = before.models.get(effect.manifestDigest)!;
            expect(PHASES.indexOf(effect.to)).toBe(PHASES.indexOf(from) + 1);
            const days = (log.at - phaseSince.at) / DAY;
            expect(days).toBeGreaterThanOrEqual(from === 'sealed' ? 30 : 90);
            expect(holdsOn(before, { manifestDigest: effect.manifestDigest })).toEqual([]);
          }
        });
      }),
      { ...runs, examples: [[risingSteps()]] },
    );
    expect(promotions).toBeGreaterThan(0);
  });

  it('GV-20, GV-21: nothing but a hold takes effect by one person, whatever keys that person has', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (events) => {
        await play(events, (_before, [counted, ...others]) => {
          if (counted?.effect !== 'signature-counted') throw new Error('every signature is counted first');
          if (others.length === 0) expect(counted.persons).toBeLessThan(counted.needed);
          else expect(counted.persons).toBe(counted.predicate === 'hold/v1' ? 1 : 2);
        });
      }),
      runs,
    );
  });

  it('GV-21, GV-33: a hold is in force at once, and until a quorum lifts that very one', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (events) => {
        await play(events, (before, effects, log) => {
          const lifted = new Set(
            effects.flatMap((effect) => (effect.effect === 'resumed' ? [effect.hold] : [])),
          );
          for (const hold of before.holds.keys()) {
            expect(log.state.holds.has(hold)).toBe(!lifted.has(hold));
          }
          for (const effect of effects) {
            if (effect.effect === 'held') expect(log.state.holds.has(effect.hold)).toBe(true);
          }
        });
      }),
      runs,
    );
  });

  it('W10: replay gives the state that the live log had, and replayed envelopes change nothing', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (events) => {
        const log = await play(events, () => undefined);
        expect(replay(log.entries)).toEqual(log.state);
        for (const entry of log.entries.slice(1)) {
          const again = { ...entry, at: log.at };
          expect(() => applyEntry(log.state, again, log.state.size)).toThrow(RefusalError);
        }
      }),
      runs,
    );
  });

  it('GV-20: the order of the signatures under statements that do not concern each other does not matter', async () => {
    const independent: readonly Step[] = [
      ['model-version/v1', examples.model] as const,
      ['lab-accreditation/v1', examples.accreditation] as const,
      ['release-policy/v1', examples.releasePolicy] as const,
      ['reference-values/v1', examples.referenceValues] as const,
    ].flatMap((said) => [signers.anna, signers.bert].map((by) => ({ statement: said, by, waitDays: 0 })));
    const outcome = ({ state }: ExampleLog) => ({
      models: [...state.models].map(([key, value]) => [key, value.phase]),
      labs: [...state.labs.keys()],
      policy: state.releasePolicy?.payloadDigest,
      values: standingReferenceValues(state).map(({ payloadDigest }) => payloadDigest),
      settled: new Set(state.settled),
      pending: state.pending.size,
    });
    const expected = outcome(await play(independent, () => undefined));
    expect(expected.pending).toBe(0);
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([...independent], { minLength: independent.length }),
        async (order) => {
          expect(outcome(await play(order, () => undefined))).toEqual(expected);
        },
      ),
      runs,
    );
  });
});

/** A run that certainly promotes, so that the properties above are never vacuous. */
function risingSteps(): Step[] {
  const said = (name: PredicateName, predicate: unknown, waitDays: number): Step[] =>
    [signers.anna, signers.bert].map((by, i) => ({
      statement: [name, predicate],
      by,
      waitDays: i === 0 ? waitDays : 0,
    }));
  const toEnterprise = { ...examples.toResearch, from: 'research', to: 'enterprise' };
  return [
    ...said('model-version/v1', examples.model, 0),
    ...said('promotion/v1', examples.toResearch, 45),
    ...said('promotion/v1', toEnterprise, 90),
  ];
}
