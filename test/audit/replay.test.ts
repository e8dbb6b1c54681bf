import { beforeAll, describe, expect, it, vi } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import { DecisionReplay, type ReplayedDecision } from '../../src/audit/replay.ts';
import type { DerivedDecisionEntry, LogEntry } from '../../src/governance/entries.ts';
import { openReleasePolicyEngine, type ReleasePolicyEngine } from '../../src/policy/release-policy.ts';
import { decodeInputs, encodeInputs, type DecisionInputs } from '../../src/server/decision-inputs.ts';
import type { Deletion } from '../../src/server/evidence-store.ts';
import { Rederivation } from '../../src/server/rederivation.ts';
import { digestOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { SUBJECT, TestServer } from '../support/release-server.ts';
import { decisionsIn, evidenceOf, isDerived, replayOf, storeOf, type Evidence } from '../support/replay.ts';

const SLOW = 180_000;
const DAY = 86_400;

let engine: ReleasePolicyEngine;

beforeAll(async () => {
  engine = await openReleasePolicyEngine();
});

/** A server that granted, renewed, and refused for its evidence, by a floor and for what it alone knew. */
async function usedServer(): Promise<TestServer> {
  const server = await TestServer.createReady();
  const { attester, enrolling, software } = server.tpm;
  const ask = (subject: object) =>
    refusalCodeAsync(() => requestRelease(server.agent(), { ...SUBJECT, ...subject }, [attester]));
  expect(await ask({})).toBe('tpm-not-enrolled');
  await enrol(server.agent(), enrolling);
  const first = await requestRelease(server.agent(), SUBJECT, [attester]);
  server.clock.advance(60);
  expect(await ask({ renews: first.lease.lease })).toBe('accepted');
  expect(await ask({ renews: '00'.repeat(16) })).toBe('renewal-unknown');
  expect(await ask({ inferencePolicyDigest: digestOf('other policy') })).toBe('floor-inference-policy');
  vi.spyOn(server.home.modelKeys, 'has').mockReturnValueOnce(false);
  expect(await ask({})).toBe('release-key-missing');
  (software.pcrs as Map<number, Uint8Array>).set(4, new Uint8Array(32).fill(1));
  expect(await ask({})).toBe('tpm-pcr-value');
  return server;
}

let used: Promise<Evidence> | undefined;

/** What {@link usedServer} leaves to an auditor. The server itself ends with the test that asks first. */
async function usedEvidence(): Promise<Evidence> {
  used ??= usedServer().then(evidenceOf);
  return await used;
}

interface Replayed {
  readonly decisions: readonly ReplayedDecision[];
  readonly replay: DecisionReplay;
}

async function replay(evidence: Evidence): Promise<Replayed> {
  const replayed = new DecisionReplay(new Rederivation([storeOf(evidence)], engine));
  const decisions: ReplayedDecision[] = [];
  for (const decision of decisionsIn(evidence.entries)) decisions.push(await replayed.take(decision));
  return { decisions, replay: replayed };
}

/** The decision that was changed, and how many others are not the same. */
async function judged(evidence: Evidence, index: number): Promise<readonly [ReplayedDecision, number]> {
  const { decisions } = await replay(evidence);
  const others = decisions.filter((decision) => decision.index !== index && decision.verdict !== 'same');
  return [decisions.find((decision) => decision.index === index)!, others.length];
}

function withEntry(evidence: Evidence, index: number, entry: LogEntry): Evidence {
  return { ...evidence, entries: evidence.entries.with(index, entry) };
}

/** The decision with other inputs, named by their digest as a server would name them. */
function withInputs(evidence: Evidence, index: number, change: Partial<DecisionInputs>): Evidence {
  const entry = evidence.entries[index] as DerivedDecisionEntry;
  const kept = decodeInputs(evidence.contents.get(entry.inputsDigest)!);
  const { bytes, digest } = encodeInputs({ ...kept, ...change });
  const contents = new Map(evidence.contents).set(digest, bytes);
  return withEntry({ ...evidence, contents }, index, { ...entry, inputsDigest: digest });
}

describe('the replay of a log', () => {
  it(
    'RD-4, RD-8, W10: derives each decision again to the last bit, with the server and without it',
    async () => {
      const server = await usedServer();
      const decisions = await replayOf(server);
      const outcomes = ['refused', 'granted', 'granted', 'refused', 'refused', 'refused', 'refused'];
      expect(decisions.map(({ verdict, outcome }) => [verdict, outcome])).toEqual(
        outcomes.map((outcome) => ['same', outcome]),
      );
      const again = await replay(await evidenceOf(server));
      expect(again.decisions).toEqual(decisions);
      expect(again.replay.counts).toEqual({ same: 7, differs: 0, deleted: 0, missing: 0, unkept: 0 });
      expect([...again.replay.authorities.values()]).toEqual([7]);
    },
    SLOW,
  );

  it(
    'RD-8: names each member that a server logged otherwise than it follows',
    async () => {
      const evidence = await usedEvidence();
      const index = evidence.entries.findIndex((entry) => isDerived(entry) && entry.outcome === 'granted');
      const grant = evidence.entries[index] as DerivedDecisionEntry;
      const lease = { ...grant.lease!, endsAt: grant.lease!.endsAt - 1 };
      const changes: readonly Partial<DerivedDecisionEntry>[] = [
        { purpose: 'leisure' },
        { reasons: ['another'] },
        { serverBuild: 'another' },
        { claims: [{ ...grant.claims[0]!, simulated: false }] },
        { challengeDigest: digestOf('another nonce') },
        { lease },
        { outcome: 'refused', lease: null, refusals: [{ code: 'policy-refused', field: 'releasePolicy' }] },
      ];
      for (const change of changes) {
        const changed = withEntry(evidence, index, { ...grant, ...change });
        const [{ verdict, members }, others] = await judged(changed, index);
        expect([verdict, members, others]).toEqual(['differs', Object.keys(change).sort(), 0]);
      }
    },
    SLOW,
  );

  it(
    'RD-8: finds a grant that no rule of the log forbids and no evidence supports',
    async () => {
      const evidence = await usedEvidence();
      const grant = evidence.entries.find((entry) => isDerived(entry) && entry.outcome === 'granted');
      const index = evidence.entries.length - 1;
      const refused = evidence.entries[index] as DerivedDecisionEntry;
      expect(refused.refusals).toMatchObject([{ code: 'tpm-pcr-value' }]);
      const { claims, lease, reasons } = grant as DerivedDecisionEntry;
      const startsAt = refused.at;
      const lie = { claims, reasons, lease: { ...lease!, startsAt, endsAt: startsAt + 3600 } };
      const lying = withEntry(evidence, index, { ...refused, ...lie, outcome: 'granted', refusals: [] });
      const { decisions } = await replay(lying);
      expect(decisions.at(-1)).toMatchObject({
        verdict: 'differs',
        members: ['claims', 'lease', 'outcome', 'reasons', 'refusals'],
        reason: 'derived again: refused (tpm-pcr-value)',
      });
    },
    SLOW,
  );

  it(
    'RD-10: inputs that lead to no entry are not those of a decision',
    async () => {
      const evidence = await usedEvidence();
      const index = evidence.entries.length - 1;
      const entry = evidence.entries[index] as DerivedDecisionEntry;
      const { signature, challenge, receivedAt } = decodeInputs(evidence.contents.get(entry.inputsDigest)!);
      const cases: readonly (readonly [Partial<DecisionInputs>, string])[] = [
        [{ signature: { ...signature, sig: Buffer.alloc(64).toString('base64') } }, 'request-signature'],
        [{ signature: { ...signature, keyid: '00' } }, 'request-signature'],
        [{ challenge: { ...challenge, lab: 'lab-two' } }, 'challenge-mismatch'],
        [{ receivedAt: challenge.expiresAt }, 'challenge-expired'],
      ];
      for (const [change, code] of cases) {
        const [{ verdict, reason }] = await judged(withInputs(evidence, index, change), index);
        expect([verdict, reason]).toEqual(['differs', expect.stringContaining(code)]);
      }
      const [late] = await judged(withInputs(evidence, index, { receivedAt: receivedAt + 1 }), index);
      expect(late.verdict).toBe('same');
    },
    SLOW,
  );

  it(
    'RD-1: every fact that the server knew counts',
    async () => {
      const evidence = await usedEvidence();
      const granted = evidence.entries.findIndex((entry) => isDerived(entry) && entry.renews !== null);
      const cases: readonly (readonly [Partial<DecisionInputs>, string])[] = [
        [{ holdsModelKey: false }, 'release-key-missing'],
        [{ renewedLease: null }, 'renewal-unknown'],
        [{ machines: [] }, 'tpm-not-enrolled'],
        [{ challenge: { ...challengeOf(evidence, granted), nonce: `${'A'.repeat(43)}=` } }, 'tpm'],
      ];
      for (const [change, code] of cases) {
        const [{ verdict, reason }] = await judged(withInputs(evidence, granted, change), granted);
        expect([verdict, reason]).toEqual(['differs', expect.stringContaining(`refused (${code}`)]);
      }
    },
    SLOW,
  );

  it(
    'RD-3, RD-6, RD-9: counts apart what is missing, what retention deleted, and what never named inputs',
    async () => {
      const evidence = await usedEvidence();
      const index = evidence.entries.length - 1;
      const entry = evidence.entries[index] as DerivedDecisionEntry;
      const { inputsDigest, at } = entry;
      const without = (digest: string): Evidence => ({
        ...evidence,
        contents: new Map([...evidence.contents].filter(([name]) => name !== digest)),
      });
      const missing = async (digest: string) => (await judged(without(digest), index))[0];
      expect(await missing(inputsDigest)).toMatchObject({
        verdict: 'missing',
        reason: `not in the store: ${inputsDigest}`,
      });
      expect(await missing(entry.requestDigest)).toMatchObject({ verdict: 'missing' });
      const deleted = async (deletion: Deletion) => {
        const deletions = new Map([[inputsDigest, deletion]]);
        return (await judged({ ...without(inputsDigest), deletions }, index))[0].verdict;
      };
      const due = at + 30 * DAY + 1;
      expect(await deleted({ decidedAt: at, deletedAt: due, keepDays: 30 })).toBe('deleted');
      expect(await deleted({ decidedAt: at, deletedAt: due - 1, keepDays: 30 })).toBe('missing');
      expect(await deleted({ decidedAt: at - 1, deletedAt: due, keepDays: 30 })).toBe('missing');
      expect(await deleted({ decidedAt: at, deletedAt: due, keepDays: 0 })).toBe('missing');
      const { inputsDigest: _, ...members } = entry;
      const before = { ...members, version: 1 } as const;
      expect((await judged(withEntry(evidence, index, before), index))[0].verdict).toBe('differs');
      const first = evidence.entries.findIndex(isDerived);
      const { inputsDigest: __, ...oldest } = evidence.entries[first] as DerivedDecisionEntry;
      const [unkept, others] = await judged(withEntry(evidence, first, { ...oldest, version: 1 }), first);
      expect([unkept.verdict, others]).toEqual(['unkept', 0]);
    },
    SLOW,
  );

  it(
    'what a store gives in the place of the inputs is refused as no such document',
    async () => {
      const evidence = await usedEvidence();
      const contents = new Map([...evidence.contents.keys()].map((digest) => [digest, toUtf8('{}')]));
      const { decisions } = await replay({ ...evidence, contents });
      for (const { verdict, reason } of decisions) {
        expect([verdict, reason]).toEqual(['differs', expect.stringContaining('shape-mismatch')]);
      }
    },
    SLOW,
  );
});

function challengeOf({ entries, contents }: Evidence, index: number): DecisionInputs['challenge'] {
  const { inputsDigest } = entries[index] as DerivedDecisionEntry;
  return decodeInputs(contents.get(inputsDigest)!).challenge;
}
