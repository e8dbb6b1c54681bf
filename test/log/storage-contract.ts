/** What every storage of a log must do, whatever stands behind it. */

import { expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { EMPTY_ROOT } from '../../src/log/merkle.ts';
import type { LogStorage, NewEntry, StoredBatch } from '../../src/log/storage.ts';
import { TreeBuilder } from '../../src/log/tree.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';

/** Grows a tree by entries, as the log does. */
export function batchOf(tree: TreeBuilder, entries: readonly NewEntry[]): StoredBatch {
  const sizeBefore = tree.size;
  const nodes = entries.flatMap(({ entry }) => tree.append(entry));
  return { sizeBefore, entries, nodes, head: { size: tree.size, root: tree.root() } };
}

const entry = (text: string): NewEntry => ({ entry: toUtf8(text) });

/** @param create makes an empty storage, on its own place each time */
export function storageContract(create: () => Promise<LogStorage>): void {
  it('TL-1: a new log is empty', async () => {
    const storage = await create();
    expect(await storage.head()).toEqual({ size: 0n, root: EMPTY_ROOT });
    expect(await storage.newestCheckpoint()).toBeUndefined();
    await storage.close();
  });

  it('TL-16: gives back the entries, nodes and head of a batch', async () => {
    const storage = await create();
    const batch = batchOf(new TreeBuilder(), [entry('a'), entry('b'), entry('c')]);
    await storage.append(batch);
    expect(await storage.head()).toEqual(batch.head);
    expect((await storage.entries(1n, 3n)).map((each) => [...each])).toEqual([
      [...toUtf8('b')],
      [...toUtf8('c')],
    ]);
    expect(await storage.nodes(batch.nodes)).toEqual(batch.nodes.map(({ hash }) => hash));
    await storage.close();
  });

  it('TL-17: a batch on another size than the head is refused and changes nothing', async () => {
    const storage = await create();
    const first = batchOf(new TreeBuilder(), [entry('a')]);
    await storage.append(first);
    expect(await refusalCodeAsync(() => storage.append(first))).toBe('log-head-moved');
    const beyond = { ...batchOf(new TreeBuilder(), [entry('b')]), sizeBefore: 5n };
    expect(await refusalCodeAsync(() => storage.append(beyond))).toBe('log-head-moved');
    expect(await storage.head()).toEqual(first.head);
    await storage.close();
  });

  it('TL-18: an idempotency key that is there already undoes the whole batch', async () => {
    const storage = await create();
    const tree = new TreeBuilder();
    await storage.append(batchOf(tree, [{ ...entry('a'), idempotencyKey: 'k1' }]));
    const head = await storage.head();
    const second = batchOf(tree, [entry('b'), { ...entry('c'), idempotencyKey: 'k1' }]);
    expect(await refusalCodeAsync(() => storage.append(second))).toBe('log-storage-failed');
    expect(await storage.head()).toEqual(head);
    expect(await refusalCodeAsync(() => storage.entries(1n, 2n))).toBe('log-damaged');
    expect(await storage.indexesOf(['k1', 'k2'])).toEqual(new Map([['k1', 0n]]));
    await storage.close();
  });

  it('TL-17: a head that does not grow is refused', async () => {
    const storage = await create();
    const batch = batchOf(new TreeBuilder(), [entry('a')]);
    const stuck = { ...batch, head: { size: 0n, root: batch.head.root } };
    expect(await refusalCodeAsync(() => storage.append(stuck))).toBe('log-storage-failed');
    expect(await storage.head()).toEqual({ size: 0n, root: EMPTY_ROOT });
    await storage.close();
  });

  it('TL-16: the newest checkpoint is that of the largest size', async () => {
    const storage = await create();
    await storage.saveCheckpoint(2n, 'two');
    await storage.saveCheckpoint(1n, 'one');
    expect(await storage.newestCheckpoint()).toBe('two');
    await storage.saveCheckpoint(2n, 'two again');
    expect(await storage.newestCheckpoint()).toBe('two again');
    await storage.close();
  });

  it('TL-23: a node or entry that is missing is damage, not an answer', async () => {
    const storage = await create();
    expect(await refusalCodeAsync(() => storage.nodes([{ level: 0, index: 0n }]))).toBe('log-damaged');
    expect(await refusalCodeAsync(() => storage.entries(0n, 1n))).toBe('log-damaged');
    await storage.close();
  });

  it('TL-2: takes and gives indexes, entries and keys of every form that they may have', async () => {
    const storage = await create();
    const entries = [
      { entry: Uint8Array.from({ length: 65_535 }, (_, i) => i), idempotencyKey: `'"\\{},NULL` },
      { entry: new Uint8Array(1), idempotencyKey: 'NULL' },
      { entry: toUtf8('{"a":"\\x00"}'), idempotencyKey: 'schlüssel — 鍵' },
    ];
    const batch = batchOf(new TreeBuilder(), entries);
    await storage.append(batch);
    expect((await storage.entries(0n, 3n)).map((each) => [...each])).toEqual(
      entries.map((each) => [...each.entry]),
    );
    const keys = entries.map(({ idempotencyKey }) => idempotencyKey);
    expect(await storage.indexesOf([...keys, ''])).toEqual(new Map(keys.map((key, i) => [key, BigInt(i)])));
    expect(await storage.entries(1n, 1n)).toEqual([]);
    expect(await storage.nodes([])).toEqual([]);
    const twice = [batch.nodes[1]!, batch.nodes[0]!, batch.nodes[1]!];
    expect(await storage.nodes(twice)).toEqual(twice.map(({ hash }) => hash));
    await storage.close();
  });

  it('TL-40: gives back what the work of a turn comes to, and what it throws', async () => {
    const storage = await create();
    expect(await storage.inTurn('extend', () => storage.inTurn('publish', () => storage.head()))).toEqual({
      size: 0n,
      root: EMPTY_ROOT,
    });
    const failure = new Error('of the work');
    await expect(storage.inTurn('publish', () => Promise.reject(failure))).rejects.toBe(failure);
    expect(await storage.inTurn('publish', () => Promise.resolve(7))).toBe(7);
    await storage.close();
  });
}
