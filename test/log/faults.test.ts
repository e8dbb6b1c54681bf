/** Every step of an append fails once, before or after it took effect; then the log is opened again. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, describe, expect, it } from 'vitest';

import { fromUtf8, toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { parseCheckpointBody } from '../../src/log/checkpoint-body.ts';
import { openCheckpoint } from '../../src/log/checkpoint.ts';
import type { NoteSigner } from '../../src/log/note.ts';
import { auditLog } from '../../src/log/reader.ts';
import type { CheckpointKeeper } from '../../src/log/publication.ts';
import { ReleaseLog } from '../../src/log/release-log.ts';
import { publishedSource } from '../../src/log/sources.ts';
import { createSqliteStorage, openSqliteStorage } from '../../src/log/sqlite-storage.ts';
import type { LogStorage } from '../../src/log/storage.ts';
import { testSigner } from './test-signer.ts';

const root = mkdtempSync(join(tmpdir(), 'weightgate-faults-'));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const signer = testSigner('log.example/evaluation');
const trust = { origin: signer.key.name, keys: [signer.key] };
const limits = { batchMilliseconds: 0, batchEntries: 4, waitingEntries: 100 };

class Fault extends Error {}

/** Counts the steps that touch disk or key, and fails at one of them. */
class FaultPoint {
  steps = 0;
  private readonly at: number;
  private readonly when: 'before' | 'after';

  constructor(at: number, when: 'before' | 'after') {
    this.at = at;
    this.when = when;
  }

  async around<T>(step: () => Promise<T>): Promise<T> {
    this.steps += 1;
    const fails = this.steps === this.at;
    if (fails && this.when === 'before') throw new Fault();
    const result = await step();
    if (fails) throw new Fault();
    return result;
  }
}

function faultyStorage(inner: LogStorage, point: FaultPoint): LogStorage {
  return {
    shared: inner.shared,
    head: () => inner.head(),
    inTurn: (turn, work) => inner.inTurn(turn, work),
    append: (batch) => point.around(() => inner.append(batch)),
    nodes: (ids) => point.around(() => inner.nodes(ids)),
    entries: (start, end) => inner.entries(start, end),
    indexesOf: (keys) => point.around(() => inner.indexesOf(keys)),
    saveCheckpoint: (size, note) => point.around(() => inner.saveCheckpoint(size, note)),
    newestCheckpoint: () => inner.newestCheckpoint(),
    close: () => inner.close(),
  };
}

/** What one run leaves behind outside the database. */
interface Outside {
  checkpoint: string | undefined;
  /** Every root that was signed, by size: more than one for a size is a fork. */
  readonly signedRoots: Map<bigint, Set<string>>;
}

function keeperOf(outside: Outside, point: FaultPoint): CheckpointKeeper {
  return {
    load: () => Promise.resolve(outside.checkpoint),
    save: (note) =>
      point.around(() => {
        outside.checkpoint = note;
        return Promise.resolve();
      }),
  };
}

/** A signer that remembers what it signed. */
function watchedSigner(outside: Outside, point: FaultPoint): NoteSigner {
  return {
    key: signer.key,
    sign: (message) =>
      point.around(() => {
        const { size, root: signed } = parseCheckpointBody(fromUtf8(message, 'message'));
        const roots = outside.signedRoots.get(size) ?? new Set();
        outside.signedRoots.set(size, roots.add(toBase64(signed)));
        return signer.sign(message);
      }),
  };
}

/** Appends in rounds of three and returns what was acknowledged. */
async function appendRounds(log: ReleaseLog, label: string, rounds: number): Promise<Map<bigint, string>> {
  const acknowledged = new Map<bigint, string>();
  for (let round = 0; round < rounds; round += 1) {
    const texts = [0, 1, 2].map((i) => `${label} ${round} ${i}`);
    const answers = await Promise.allSettled(
      texts.map((text) => log.append(toUtf8(text), { idempotencyKey: text })),
    );
    answers.forEach((answer, i) => {
      if (answer.status === 'fulfilled') acknowledged.set(answer.value.index, texts[i]!);
    });
  }
  return acknowledged;
}

async function runWithFault(at: number, when: 'before' | 'after'): Promise<{ steps: number; kept: number }> {
  const path = join(mkdtempSync(join(root, 'run-')), 'log.sqlite');
  const outside: Outside = { checkpoint: undefined, signedRoots: new Map() };
  const sound = new FaultPoint(0, 'before');
  const identity = (point: FaultPoint) => ({
    origin: trust.origin,
    signers: [watchedSigner(outside, point)],
  });
  const created = createSqliteStorage(path);
  await (await ReleaseLog.start(created, keeperOf(outside, sound), identity(sound), limits)).close();

  const point = new FaultPoint(at, when);
  const acknowledged = new Map<bigint, string>();
  const storage = faultyStorage(openSqliteStorage(path), point);
  try {
    const log = await ReleaseLog.start(storage, keeperOf(outside, point), identity(point), limits);
    for (const [index, text] of await appendRounds(log, 'first', 3)) acknowledged.set(index, text);
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
  }
  await storage.close();

  const log = await ReleaseLog.start(
    openSqliteStorage(path),
    keeperOf(outside, sound),
    identity(sound),
    limits,
  );
  // The same requests again: those that were stored are found by their keys, the others are logged now.
  const repeated = await appendRounds(log, 'first', 3);
  expect(repeated.size).toBe(9);
  for (const [index, text] of acknowledged) expect(repeated.get(index)).toBe(text);
  const stored: string[] = [];
  await auditLog(publishedSource(log), trust, { minimumSize: 9n }, (entry) => {
    stored.push(fromUtf8(entry, 'entry'));
  });
  expect(new Set(stored).size).toBe(stored.length);
  for (const roots of outside.signedRoots.values()) expect(roots.size).toBe(1);
  expect((await openCheckpoint(outside.checkpoint!, trust)).size).toBe(9n);
  await log.close();
  return { steps: point.steps, kept: acknowledged.size };
}

describe('faults', () => {
  it('TL-16, TL-17, TL-18, TL-20, TL-24: a failure at any step loses nothing and forks nothing', async () => {
    const { steps, kept } = await runWithFault(0, 'before');
    expect(kept).toBe(9);
    expect(steps).toBeGreaterThan(15);
    for (let at = 1; at <= steps; at += 1) {
      await runWithFault(at, 'before');
      await runWithFault(at, 'after');
    }
  }, 120_000);
});
