/** The decisions of a test server, derived again from its log and its evidence store. */

import { join } from 'node:path';

import { expect, onTestFinished } from 'vitest';

import { replayDecisions, type ReplayReport } from '../../src/audit/replay.ts';
import { withLogCopy } from '../../src/cli/log-copy.ts';
import type { DecisionEntry } from '../../src/governance/entries.ts';
import type { LogTrust } from '../../src/log/checkpoint.ts';
import { parseVerifierKey } from '../../src/log/verifier-key.ts';
import { decodeInputs } from '../../src/server/decision-inputs.ts';
import { EvidenceStore } from '../../src/server/evidence-store.ts';
import { Rederivation } from '../../src/server/rederivation.ts';
import { ORIGIN, type TestServer } from './release-server.ts';

export function trustIn({ identity }: TestServer): LogTrust {
  return { origin: ORIGIN, keys: [parseVerifierKey(identity.logKey, 'logKey')] };
}

/** Reads the store as an auditor does, whatever the server holds open. */
export async function withStoreOf<T>(
  server: TestServer,
  work: (store: EvidenceStore) => Promise<T>,
): Promise<T> {
  const store = EvidenceStore.read(join(server.path, 'evidence'));
  try {
    return await work(store);
  } finally {
    store.close();
  }
}

export async function replayOf(server: TestServer): Promise<ReplayReport> {
  const trust = trustIn(server);
  return await withStoreOf(server, (store) =>
    withLogCopy(server.path, trust, (source) =>
      replayDecisions(source, trust, new Rederivation([store], server.home.engine)),
    ),
  );
}

/** RD-4: whatever the test made the server decide is derived again when the test has ended. */
export function expectSameAtTheEnd(server: TestServer): void {
  onTestFinished(async () => {
    const { decisions, alarms } = await replayOf(server);
    expect(decisions.filter(({ verdict }) => verdict !== 'same')).toEqual([]);
    expect(alarms).toEqual([]);
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
