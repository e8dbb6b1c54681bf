/** The decisions of a test server, derived again from its log and its evidence store. */

import { join } from 'node:path';

import { expect, onTestFinished } from 'vitest';

import { isRefusal } from '../../attestation/core/refusal.ts';
import { DecisionReplay, type LoggedDecision, type ReplayedDecision } from '../../src/audit/replay.ts';
import type { DecisionEntry, DerivedDecisionEntry, LogEntry } from '../../src/governance/entries.ts';
import { applyEntry, initialState } from '../../src/governance/fold.ts';
import { decodeInputs, partsOf } from '../../src/server/decision-inputs.ts';
import { EvidenceStore, type Deletion } from '../../src/server/evidence-store.ts';
import { Rederivation } from '../../src/server/rederivation.ts';
import type { TestServer } from './release-server.ts';

/** The decisions of a log with the states that they were made in. Entries against the rules change nothing. */
export function decisionsIn([genesis, ...entries]: readonly LogEntry[]): readonly LoggedDecision[] {
  if (genesis?.type !== 'genesis') throw new Error('a log begins with its genesis entry');
  let state = initialState(genesis);
  return entries.flatMap((entry, i) => {
    const index = i + 1;
    const before = state;
    state = { ...before, size: index + 1 };
    try {
      state = applyEntry(before, entry, index).state;
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
    return entry.type === 'decision' ? [{ index, entry, state: before }] : [];
  });
}

/** What an auditor has, apart from the server: all entries, and contents by their digest. */
export interface Evidence {
  readonly entries: readonly LogEntry[];
  readonly contents: ReadonlyMap<string, Uint8Array>;
  readonly deletions: ReadonlyMap<string, Deletion>;
}

export function isDerived(entry: LogEntry): entry is DerivedDecisionEntry {
  return entry.type === 'decision' && entry.version === 2;
}

export async function evidenceOf(server: TestServer): Promise<Evidence> {
  const { evidence } = server.home;
  const entries = await server.entries();
  const contents = new Map<string, Uint8Array>();
  const keep = (digest: string): Uint8Array => {
    const content = evidence.find(digest);
    if (content === undefined) throw new Error(`${digest} is not in the store`);
    contents.set(digest, content);
    return content;
  };
  for (const { inputsDigest } of entries.filter(isDerived)) {
    for (const digest of partsOf(decodeInputs(keep(inputsDigest)))) keep(digest);
  }
  return { entries, contents, deletions: new Map() };
}

/** A store with these contents and no others. */
export function storeOf({ contents, deletions }: Evidence): Pick<EvidenceStore, 'find' | 'findDeletion'> {
  return { find: (digest) => contents.get(digest), findDeletion: (digest) => deletions.get(digest) };
}

/** Reads log and store as an auditor does, whatever the server holds open. */
export async function replayOf(server: TestServer): Promise<readonly ReplayedDecision[]> {
  const store = EvidenceStore.read(join(server.path, 'evidence'));
  try {
    const replay = new DecisionReplay(new Rederivation([store], server.home.engine));
    const replayed: ReplayedDecision[] = [];
    for (const decision of decisionsIn(await server.entries())) replayed.push(await replay.take(decision));
    return replayed;
  } finally {
    store.close();
  }
}

/** RD-4: whatever the test made the server decide is derived again when the test has ended. */
export function expectSameAtTheEnd(server: TestServer): void {
  onTestFinished(async () => {
    const replayed = await replayOf(server);
    expect(replayed.filter(({ verdict }) => verdict !== 'same')).toEqual([]);
  });
}

/** The collateral of a decision, by name (RP-35). */
export function keptCollateral(server: TestServer, decision: DecisionEntry): ReadonlyMap<string, Uint8Array> {
  if (decision.version !== 2) throw new Error('a decision without inputs');
  const { evidence } = server.home;
  const content = (digest: string): Uint8Array => {
    const found = evidence.find(digest);
    if (found === undefined) throw new Error(`${digest} is not in the store`);
    return found;
  };
  const { collateral } = decodeInputs(content(decision.inputsDigest));
  return new Map(collateral.map(({ name, digest }) => [name, content(digest)]));
}
