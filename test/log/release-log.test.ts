import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { openCheckpoint } from '../../src/log/checkpoint.ts';
import { createReleaseLog, openReleaseLog, readReleaseLog } from '../../src/log/log-folder.ts';
import { leafHash, verifyConsistency } from '../../src/log/merkle.ts';
import type { CheckpointKeeper, LogIdentity } from '../../src/log/publication.ts';
import { ReleaseLog } from '../../src/log/release-log.ts';
import { createSqliteStorage } from '../../src/log/sqlite-storage.ts';
import { verifyTlogProof } from '../../src/log/tlog-proof.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { naiveRoot } from './naive-tree.ts';
import { testSigner } from './test-signer.ts';

const root = mkdtempSync(join(tmpdir(), 'weightgate-log-'));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const newFolder = (): string => mkdtempSync(join(root, 'log-'));

const signer = testSigner('log.example/evaluation');
const identity: LogIdentity = { origin: signer.key.name, signers: [signer] };
const trust = { origin: identity.origin, keys: [signer.key], witnesses: 'not-required' } as const;
const limits = { batchMilliseconds: 1, batchEntries: 16, waitingEntries: 64 };
const entryOf = (i: number): Uint8Array => toUtf8(`{"n":${i}}`);

async function logOf(count: number, folder = newFolder()): Promise<{ log: ReleaseLog; folder: string }> {
  const log = await createReleaseLog(folder, identity, limits);
  await Promise.all(Array.from({ length: count }, (_, i) => log.append(entryOf(i))));
  return { log, folder };
}

describe('append', () => {
  it('TL-16: many at once get indexes in order and proofs that verify with the key alone', async () => {
    const { log } = await logOf(0);
    const appended = await Promise.all(Array.from({ length: 50 }, (_, i) => log.append(entryOf(i))));
    expect(appended.map(({ index }) => index)).toEqual(Array.from({ length: 50 }, (_, i) => BigInt(i)));
    for (const [i, each] of appended.entries()) {
      const verified = await verifyTlogProof(entryOf(i), each.proof, trust);
      expect(verified.index).toBe(each.index);
      expect(toHex(verified.leafHash)).toBe(toHex(each.leafHash));
      expect(verified.checkpoint.note).toBe(each.checkpoint);
      expect(each.repeated).toBe(false);
    }
    expect(log.published.checkpoint.root).toEqual(
      naiveRoot(Array.from({ length: 50 }, (_, i) => entryOf(i))),
    );
    await log.close();
  });

  it('TL-16: a batch is signed once', async () => {
    let signatures = 0;
    const counting = {
      key: signer.key,
      sign: (message: Uint8Array) => {
        signatures += 1;
        return signer.sign(message);
      },
    };
    const log = await createReleaseLog(newFolder(), { ...identity, signers: [counting] }, limits);
    signatures = 0;
    await Promise.all(Array.from({ length: 32 }, (_, i) => log.append(entryOf(i))));
    expect(signatures).toBe(2);
    await log.close();
  });

  it('TL-18: a repeated key answers with the first entry, in one batch and in a later one', async () => {
    const { log } = await logOf(3);
    const options = { idempotencyKey: 'request-1' };
    const [first, second] = await Promise.all([
      log.append(toUtf8('first'), options),
      log.append(toUtf8('second'), options),
    ]);
    const third = await log.append(toUtf8('third'), options);
    for (const repeat of [second, third]) {
      expect(repeat).toMatchObject({ index: first.index, repeated: true });
      expect(toHex(repeat.entry)).toBe(toHex(toUtf8('first')));
      await verifyTlogProof(toUtf8('first'), repeat.proof, trust);
    }
    expect(log.published.size).toBe(4n);
    await log.close();
  });

  it('TL-11: refuses an empty entry and one of 65,536 bytes, takes one of 65,535', async () => {
    const { log } = await logOf(0);
    expect(await refusalCodeAsync(() => log.append(new Uint8Array(0)))).toBe('log-entry-size');
    expect(await refusalCodeAsync(() => log.append(new Uint8Array(65536)))).toBe('log-entry-size');
    expect((await log.append(new Uint8Array(65535))).index).toBe(0n);
    await log.close();
  });

  it('TL-21: refuses more than may wait, and takes them afterwards', async () => {
    const { log } = await logOf(0);
    const codes = await Promise.all(
      Array.from({ length: 80 }, (_, i) => refusalCodeAsync(() => log.append(entryOf(i)))),
    );
    expect(codes.filter((code) => code === 'log-overloaded')).toHaveLength(16);
    expect((await log.append(entryOf(99))).index).toBe(64n);
    await log.close();
  });

  it('TL-16: what waits when the log is closed is still logged, and nothing after', async () => {
    const { log, folder } = await logOf(0);
    const waiting = log.append(entryOf(0));
    await log.close();
    expect((await waiting).index).toBe(0n);
    await log.close();
    expect(await refusalCodeAsync(() => log.append(entryOf(1)))).toBe('log-stopped');
    const again = await openReleaseLog(folder, identity);
    expect(again.published.size).toBe(1n);
    await again.close();
  });

  it('TL-24: a signer that fails leaves the entry to be found by its key, under the next checkpoint', async () => {
    let broken = false;
    const flaky = {
      key: signer.key,
      sign: (message: Uint8Array) =>
        broken ? Promise.reject(new Error('token removed')) : signer.sign(message),
    };
    const log = await createReleaseLog(newFolder(), { ...identity, signers: [flaky] }, limits);
    broken = true;
    const options = { idempotencyKey: 'request-1' };
    expect(await refusalCodeAsync(() => log.append(entryOf(0), options))).toBe('log-signer-failed');
    expect(log.published.size).toBe(0n);
    broken = false;
    const found = await log.append(entryOf(0), options);
    expect(found).toMatchObject({ index: 0n, repeated: true });
    await verifyTlogProof(entryOf(0), found.proof, trust);
    await log.close();
  });

  it('TL-20: a write that fails stops the log, for those that wait too', async () => {
    const { log, folder } = await logOf(2);
    // Another program takes the index that comes next: the lock file does not protect against SQL by hand.
    const intruder = new DatabaseSync(join(folder, 'log.sqlite'));
    intruder.prepare('INSERT INTO entries (position, entry) VALUES (2, ?)').run(entryOf(7));
    intruder.close();
    const codes = await Promise.all([
      refusalCodeAsync(() => log.append(entryOf(2))),
      refusalCodeAsync(() => log.append(entryOf(3))),
    ]);
    expect(codes).toEqual(['log-storage-failed', 'log-storage-failed']);
    expect(await refusalCodeAsync(() => log.append(entryOf(4)))).toBe('log-stopped');
    expect(log.published.size).toBe(2n);
    await log.close();
  });

  it('TL-20: a checkpoint that cannot be kept stops the log before it answers', async () => {
    const kept: string[] = [];
    const keeper: CheckpointKeeper = {
      load: () => Promise.resolve(kept.at(-1)),
      save: (note) =>
        kept.length < 1 ? (kept.push(note), Promise.resolve()) : Promise.reject(new Error('full')),
    };
    const storage = createSqliteStorage(join(newFolder(), 'log.sqlite'));
    const log = await ReleaseLog.start(storage, keeper, identity, limits);
    await expect(log.append(entryOf(0))).rejects.toThrow('full');
    expect(await refusalCodeAsync(() => log.append(entryOf(1)))).toBe('log-stopped');
    await log.close();
  });
});

describe('start-up', () => {
  it('TL-22: a log is created once and opened afterwards', async () => {
    const folder = newFolder();
    expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-missing');
    const { log } = await logOf(5, folder);
    await log.close();
    expect(await refusalCodeAsync(() => createReleaseLog(folder, identity))).toBe('log-exists');
    rmSync(join(folder, 'log.sqlite'));
    expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-missing');
    expect(await refusalCodeAsync(() => createReleaseLog(folder, identity))).toBe('log-exists');
  });

  it('TL-19: a second log on one folder is refused', async () => {
    const { log, folder } = await logOf(1);
    expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-locked');
    await log.close();
  });

  it('TL-23: an older database beside a newer checkpoint is refused', async () => {
    const { log, folder } = await logOf(3);
    await log.close();
    copyFileSync(join(folder, 'log.sqlite'), join(folder, 'backup'));
    const again = await openReleaseLog(folder, identity, { limits });
    await again.append(entryOf(3));
    await again.close();
    copyFileSync(join(folder, 'backup'), join(folder, 'log.sqlite'));
    expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-rolled-back');
  });

  it('TL-23: a log with entries and without its checkpoint file is refused', async () => {
    const { log, folder } = await logOf(3);
    await log.close();
    rmSync(join(folder, 'checkpoint'));
    expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-checkpoint-missing');
  });

  it('TL-23: an empty log that has signed and lost its checkpoint file is refused: it may be the first backup', async () => {
    const { log, folder } = await logOf(0);
    await log.close();
    rmSync(join(folder, 'checkpoint'));
    expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-checkpoint-missing');
  });

  it('TL-22: a creation that was cut off before the first checkpoint was kept is finished by opening', async () => {
    const { log, folder } = await logOf(0);
    await log.close();
    rmSync(join(folder, 'checkpoint'));
    const database = new DatabaseSync(join(folder, 'log.sqlite'));
    database.exec('DELETE FROM checkpoints');
    database.close();
    const opened = await openReleaseLog(folder, identity);
    expect(opened.published.size).toBe(0n);
    await opened.close();
  });

  it('TL-23: another history of the same size is refused', async () => {
    const { log, folder } = await logOf(3);
    await log.close();
    const other = newFolder();
    const forked = await createReleaseLog(other, identity, limits);
    for (let i = 0; i < 4; i += 1) await forked.append(toUtf8(`other ${i}`));
    await forked.close();
    copyFileSync(join(other, 'log.sqlite'), join(folder, 'log.sqlite'));
    expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-forked');
  });

  it('TL-23: a checkpoint of another key or origin is refused', async () => {
    const { log, folder } = await logOf(1);
    await log.close();
    const stranger = testSigner('other.example/evaluation');
    const renamed = { ...signer, key: { ...signer.key, name: stranger.key.name } };
    for (const other of [stranger, renamed]) {
      const code = await refusalCodeAsync(() =>
        openReleaseLog(folder, { origin: other.key.name, signers: [other] }),
      );
      expect(code).toBe('log-note-unsigned');
    }
  });

  it('TL-10: a log without a key of its own name is refused', async () => {
    const misnamed = { origin: 'log.example', signers: [signer] };
    expect(await refusalCodeAsync(() => createReleaseLog(newFolder(), misnamed))).toBe('log-identity');
  });

  it('TL-23: a last entry, a node or a head that was altered in the database is refused', async () => {
    for (const sql of [
      `DROP TRIGGER entries_stay_unchanged; UPDATE entries SET entry = x'00' WHERE position = 4`,
      'DROP TRIGGER nodes_stay_unchanged; UPDATE nodes SET hash = zeroblob(32) WHERE level = 2',
      'DROP TRIGGER head_grows; UPDATE head SET root = zeroblob(32)',
    ]) {
      const { log, folder } = await logOf(5);
      await log.close();
      const database = new DatabaseSync(join(folder, 'log.sqlite'));
      database.exec(sql);
      database.close();
      expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-damaged');
    }
  });

  it('TL-23: a replay takes every entry and refuses at its end when one was altered', async () => {
    const replay = async ({ published }: ReleaseLog): Promise<readonly Uint8Array[]> => {
      const entries: Uint8Array[] = [];
      for await (const entry of published.replay()) entries.push(entry);
      return entries;
    };
    for (const position of [0, 3]) {
      const { log, folder } = await logOf(5);
      expect(await replay(log)).toEqual(await log.published.entries(0n, 5n));
      await log.close();
      const database = new DatabaseSync(join(folder, 'log.sqlite'));
      database.exec(`DROP TRIGGER entries_stay_unchanged;
        UPDATE entries SET entry = x'00' WHERE position = ${position}`);
      database.close();
      const altered = await openReleaseLog(folder, identity);
      const signedRoot = toHex(altered.published.checkpoint.root);
      await expect(replay(altered)).rejects.toMatchObject({
        refusal: { code: 'log-damaged', expected: expect.stringContaining(signedRoot) as string },
      });
      await altered.close();
    }
  });

  it('TL-24: a head that was not signed any more is signed at start-up', async () => {
    const { log, folder } = await logOf(2);
    await log.close();
    const note = readFileSync(join(folder, 'checkpoint'));
    const again = await openReleaseLog(folder, identity, { limits });
    await again.append(entryOf(2));
    await again.close();
    // As if the process had ended between the head and its signature.
    writeFileSync(join(folder, 'checkpoint'), note);
    const database = new DatabaseSync(join(folder, 'log.sqlite'));
    database.exec('DELETE FROM checkpoints WHERE size = 3');
    database.close();
    const recovered = await openReleaseLog(folder, identity);
    expect(recovered.published.size).toBe(3n);
    expect((await openCheckpoint(readFileSync(join(folder, 'checkpoint'), 'utf8'), trust)).size).toBe(3n);
    await recovered.close();
  });
});

describe('published log', () => {
  it('TL-3: gives consistency proofs between any two sizes', async () => {
    const { log } = await logOf(40);
    const entries = Array.from({ length: 40 }, (_, i) => entryOf(i));
    await fc.assert(
      fc.asyncProperty(fc.nat(40), fc.nat(40), async (one, other) => {
        const [first, second] = [Math.min(one, other), Math.max(one, other)];
        verifyConsistency({
          firstSize: BigInt(first),
          firstRoot: naiveRoot(entries.slice(0, first)),
          secondSize: BigInt(second),
          secondRoot: naiveRoot(entries.slice(0, second)),
          proof: await log.published.consistencyProof(BigInt(first), BigInt(second)),
        });
      }),
    );
    await log.close();
  });

  it('TL-13: refuses ranges beyond the checkpoint', async () => {
    const { log } = await logOf(4);
    const { published } = log;
    expect(await refusalCodeAsync(() => published.inclusionProof(4n))).toBe('log-range');
    expect(await refusalCodeAsync(() => published.entries(0n, 5n))).toBe('log-range');
    expect(await refusalCodeAsync(() => published.entries(3n, 2n))).toBe('log-range');
    expect(await refusalCodeAsync(() => published.consistencyProof(3n, 5n))).toBe('log-range');
    expect(await refusalCodeAsync(() => published.consistencyProof(-1n, 2n))).toBe('log-range');
    await log.close();
  });

  it('TL-10: a reader opens the folder while the server writes, with its own key only', async () => {
    const { log, folder } = await logOf(4);
    const reader = await readReleaseLog(folder, trust);
    expect(reader.published.size).toBe(4n);
    const [entry] = await reader.published.entries(2n, 3n);
    expect(leafHash(entry!)).toEqual(leafHash(entryOf(2)));
    await reader.close();
    const stranger = testSigner(identity.origin.replace('log', 'other'));
    expect(await refusalCodeAsync(() => readReleaseLog(folder, { ...trust, keys: [stranger.key] }))).toBe(
      'log-note-unsigned',
    );
    await log.close();
  });
});
