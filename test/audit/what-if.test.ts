import { beforeAll, describe, expect, it } from 'vitest';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import { WhatIf, type Consequence } from '../../src/audit/what-if.ts';
import {
  withModelHeld,
  withoutLab,
  withoutMachine,
  withoutReference,
  withPolicy,
  withValuesAdded,
  withValuesReplaced,
  type StateChange,
} from '../../src/audit/what-if-changes.ts';
import { issueOf } from '../../src/governance/reference-values.ts';
import { openReleasePolicyEngine, type ReleasePolicyEngine } from '../../src/policy/release-policy.ts';
import { Rederivation } from '../../src/server/rederivation.ts';
import { digestOf, examplePredicates, predicateOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { manifestDigest, SUBJECT, TestServer } from '../support/release-server.ts';
import { decisionsIn, evidenceOf, storeOf, type Evidence } from '../support/replay.ts';
import { PCRS } from '../support/software-attester.ts';

const SLOW = 180_000;

let engine: ReleasePolicyEngine;

beforeAll(async () => {
  engine = await openReleasePolicyEngine();
});

interface Used {
  readonly evidence: Evidence;
  /** Reference values that stand. */
  readonly values: JsonValue;
  readonly endorsementKeyDigest: string;
  /** `lease.endsAt` of the grant. */
  readonly endsAt: number;
}

/** A server that granted once, then refused by a floor, and for another value of a register. */
async function useServer(): Promise<Used> {
  const server = await TestServer.createReady();
  const { attester, enrolling, software, endorsementKeyDigest } = server.tpm;
  await enrol(server.agent(), enrolling);
  const ask = (subject: object) =>
    refusalCodeAsync(() => requestRelease(server.agent(), { ...SUBJECT, ...subject }, [attester]));
  const { lease } = await requestRelease(server.agent(), SUBJECT, [attester]);
  expect(await ask({ inferencePolicyDigest: digestOf('other policy') })).toBe('floor-inference-policy');
  (software.pcrs as Map<number, Uint8Array>).set(4, new Uint8Array(32).fill(1));
  expect(await ask({})).toBe('tpm-pcr-value');
  const [values] = software.inputs.referenceValues;
  const evidence = await evidenceOf(server);
  return { evidence, values: values as JsonValue, endorsementKeyDigest, endsAt: lease.endsAt };
}

let used: Promise<Used> | undefined;

/** The server itself ends with the test that asks first. */
async function usedServer(): Promise<Used> {
  used ??= useServer();
  return await used;
}

async function answers(
  { evidence }: Used,
  changes: readonly StateChange[],
  { at = 0, without = [] }: { readonly at?: number; readonly without?: readonly string[] } = {},
) {
  const rederivation = new Rederivation([storeOf(evidence)], engine, new Set(without));
  const whatIf = new WhatIf(rederivation, changes, at);
  const consequences: Consequence[] = [];
  for (const decision of decisionsIn(evidence.entries)) consequences.push(await whatIf.take(decision));
  return { consequences, idle: whatIf.idle, leftOut: [...rederivation.authoritiesLeftOut] };
}

const texts = (consequences: readonly Consequence[]): readonly string[] =>
  consequences.map((consequence) =>
    consequence.answer === 'turns' ? `${consequence.logged} -> ${consequence.derived}` : consequence.answer,
  );

describe('what a change would have meant', () => {
  it(
    'RD-12: for each kind of change, which decisions turn',
    async () => {
      const used = await usedServer();
      const { values, endorsementKeyDigest } = used;
      const { releasePolicy } = examplePredicates;
      const policy = predicateOf('release-policy/v1', {
        ...releasePolicy,
        epoch: 9,
        cedar: '@id("never") forbid (principal, action, resource);',
        tpm: { ...releasePolicy.tpm, pcrs: [...PCRS] },
      });
      const place = `tpm/${examplePredicates.referenceValues.name}`;
      const pcrs = { ...(values as { pcrs: Record<string, string[]> }).pcrs, 4: ['ff'.repeat(32)] };
      const other = { ...(values as object), pcrs } as JsonValue;
      const floor = 'refused (floor-inference-policy)';
      const pcr = 'refused (tpm-pcr-value)';
      /** The third is refused for its evidence, before any floor. */
      const byFloor = (code: string): readonly string[] => [
        `granted -> refused (${code})`,
        `${floor} -> refused (${code}, floor-inference-policy)`,
        'holds',
      ];
      const byEvidence = (code: string, third: string): readonly string[] => [
        `granted -> refused (${code})`,
        `${floor} -> refused (${code})`,
        third,
      ];
      const cases: readonly (readonly [StateChange, readonly string[]])[] = [
        [withPolicy(policy), ['granted -> refused (policy-refused)', 'holds', 'holds']],
        [withoutLab('lab-one'), byFloor('floor-lab-not-accredited')],
        [withoutMachine('rack-1'), byFloor('floor-machine')],
        [withoutMachine(endorsementKeyDigest), byFloor('floor-machine')],
        [withModelHeld(manifestDigest), byFloor('floor-held')],
        [
          withoutReference(place),
          byEvidence('tpm-reference-missing', `${pcr} -> refused (tpm-reference-missing)`),
        ],
        [withValuesReplaced('tpm', values, other), byEvidence('tpm-pcr-value', 'holds')],
      ];
      for (const [change, expected] of cases) {
        const { consequences, idle } = await answers(used, [change]);
        expect([change.text, texts(consequences), idle]).toEqual([change.text, expected, []]);
      }
    },
    SLOW,
  );

  it(
    'RD-12: values that are added let in what was refused, and those replaced by themselves change nothing',
    async () => {
      const used = await usedServer();
      const { values } = used;
      const { referenceValues } = examplePredicates;
      const pcrs = { ...(values as { pcrs: Record<string, string[]> }).pcrs, 4: ['01'.repeat(32)] };
      const issue = issueOf(
        predicateOf('reference-values/v1', {
          ...referenceValues,
          name: 'second',
          values: { ...(values as object), pcrs },
        }),
      );
      const added = await answers(used, [withValuesAdded(issue)]);
      expect(texts(added.consequences)).toEqual(['holds', 'holds', 'refused (tpm-pcr-value) -> granted']);
      const same = await answers(used, [withValuesReplaced('tpm', values, values)]);
      expect(texts(same.consequences)).toEqual(['holds', 'holds', 'holds']);
    },
    SLOW,
  );

  it(
    'RD-12, RD-14: an authority that does not count takes the evidence with it, and is told apart from a mistyped one',
    async () => {
      const used = await usedServer();
      const mistyped = await answers(used, [], { without: ['tpm/nobody'] });
      expect([texts(mistyped.consequences), mistyped.leftOut]).toEqual([['holds', 'holds', 'holds'], []]);
      const named = await answers(used, [], { without: ['tpm/vendor'] });
      expect(named.leftOut).toEqual(['tpm/vendor']);
    },
    SLOW,
  );

  it(
    'RD-14: a change that no state has anything for is idle',
    async () => {
      const used = await usedServer();
      const idle = [
        withoutLab('lab-nine'),
        withoutMachine('rack-9'),
        withModelHeld(digestOf('nothing')),
        withoutReference('tpm/nothing'),
        withValuesReplaced('tpm', { version: 1 }, {}),
      ];
      const { consequences, idle: found } = await answers(used, idle);
      expect(texts(consequences)).toEqual(['holds', 'holds', 'holds']);
      expect(found).toEqual(idle);
    },
    SLOW,
  );

  it(
    'RD-13: tells which leases run, and which decisions cannot be derived again',
    async () => {
      const used = await usedServer();
      const { endsAt } = used;
      const running = async (at: number) =>
        (await answers(used, [withoutLab('lab-one')], { at })).consequences.map(
          (consequence) => consequence.answer === 'turns' && consequence.isRunning,
        );
      expect(await running(endsAt - 1)).toEqual([true, false, false]);
      expect(await running(endsAt)).toEqual([false, false, false]);
      const rederivation = new Rederivation([], engine);
      const whatIf = new WhatIf(rederivation, [withoutLab('lab-one')], endsAt - 1);
      const [grant] = decisionsIn(used.evidence.entries);
      expect(await whatIf.take(grant!)).toMatchObject({
        answer: 'open',
        outcome: 'granted',
        isRunning: true,
      });
    },
    SLOW,
  );
});
