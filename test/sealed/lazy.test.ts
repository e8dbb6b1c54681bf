import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { KeyMemory } from '../../native/memory/key-memory.ts';
import { LazyBundle, type LazyOptions, type TensorUse } from '../../src/sealed/lazy.ts';
import { SealedBundle } from '../../src/sealed/reader.ts';
import { FolderSource } from '../../src/sealed/source/folder-source.ts';
import type { BundleSource, SourceFile } from '../../src/sealed/source/source.ts';
import { sealFolder } from '../../src/sealed/writer.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import {
  deterministicBytes,
  MODEL,
  modelKeyMemory,
  signer,
  temporaryFolder,
  TRUST,
  writeFolder,
} from './fixtures.ts';
import { safetensorsFile } from './weight-files.ts';

const TENSORS = ['a', 'b', 'c', 'd'].map((name) => ({ name, content: deterministicBytes(1000, name) }));

/** A folder whose weights are read only while a gate is open. */
class GatedSource implements BundleSource {
  readonly description = 'gated';
  readonly concurrentReads = 4;
  opened = 0;
  fails = false;
  #gate: Promise<undefined> | undefined;
  #openGate: ((value: undefined) => void) | undefined;
  readonly #source: BundleSource;

  constructor(source: BundleSource) {
    this.#source = source;
  }

  shut(): void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#gate = promise;
    this.#openGate = resolve;
  }

  unlock(): void {
    this.#openGate?.(undefined);
  }

  readSmall: BundleSource['readSmall'] = (...given) => this.#source.readSmall(...given);
  inventory: BundleSource['inventory'] = () => this.#source.inventory();
  locate: BundleSource['locate'] = (path) => this.#source.locate(path);

  async open(path: string, bytes: number): Promise<SourceFile> {
    this.opened += 1;
    const file = await this.#source.open(path, bytes);
    return {
      path,
      bytes,
      fileDescriptor: file.fileDescriptor,
      read: async (target, offset, length, options) => {
        await this.#gate;
        await file.read(target, this.fails ? offset + 1 : offset, length, options);
      },
      close: () => file.close(),
    };
  }
}

let modelKey: KeyMemory;
let folder: string;
beforeAll(async () => {
  modelKey = modelKeyMemory();
  folder = join(temporaryFolder(), 'bundle');
  const files = new Map([['model.safetensors', safetensorsFile(TENSORS)]]);
  await sealFolder(writeFolder(files), folder, { model: MODEL, modelKey, signers: [signer] });
});
afterAll(() => {
  modelKey.close();
});

const models: LazyBundle[] = [];
afterEach(async () => {
  for (const model of models.splice(0)) await model.close();
});

async function openModel(options: LazyOptions = {}): Promise<{ model: LazyBundle; source: GatedSource }> {
  const source = new GatedSource(await FolderSource.at(folder));
  const model = await LazyBundle.open(await SealedBundle.open(source, TRUST), modelKey, options);
  models.push(model);
  source.opened = 0;
  return { model, source };
}

describe('a lazily opened model', () => {
  it('SW-55: opens a tensor at its first use and keeps it', async () => {
    const { model, source } = await openModel();
    expect([source.opened, model.heldBytes]).toEqual([0, 0]);
    const first = await model.use('a');
    expect(Buffer.compare(first.memory.read(0, 1000), TENSORS[0]!.content)).toBe(0);
    first.release();
    const second = await model.use('a');
    expect(second.memory).toBe(first.memory);
    expect([source.opened, model.heldBytes]).toEqual([1, 1000]);
  });

  it('SW-55: opens a tensor once for all who ask at a time', async () => {
    const { model, source } = await openModel();
    const uses = await Promise.all(Array.from({ length: 8 }, () => model.use('b')));
    expect(new Set(uses.map(({ memory }) => memory)).size).toBe(1);
    expect(source.opened).toBe(1);
  });

  it('SW-55: gives back the longest unused within its bound, and overwrites it', async () => {
    const { model, source } = await openModel({ maxBytes: 2500 });
    const uses: TensorUse[] = [];
    for (const name of ['a', 'b']) uses.push(await model.use(name));
    for (const use of uses) use.release();
    (await model.use('a')).release();
    (await model.use('c')).release();
    expect(model.heldBytes).toBe(2000);
    expect(refusalCode(() => uses[1]?.memory.address)).toBe('memory-closed');
    expect(refusalCode(() => uses[0]?.memory.address)).toBe('accepted');
    (await model.use('a')).release();
    expect(source.opened).toBe(3);
    (await model.use('b')).release();
    expect(source.opened).toBe(4);
  });

  it('SW-55: never gives back what is in use', async () => {
    const { model } = await openModel({ maxBytes: 2000 });
    const [first, second] = [await model.use('a'), await model.use('b')];
    const again = await model.use('a');
    again.release();
    again.release();
    expect(await refusalCodeAsync(() => model.use('c'))).toBe('tensor-memory-bound');
    expect(first.memory.read(0, 1)).toEqual(TENSORS[0]!.content.subarray(0, 1));
    second.release();
    (await model.use('c')).release();
    expect(refusalCode(() => second.memory.address)).toBe('memory-closed');
    expect(first.memory.bytes).toBe(1000);
    const small = await openModel({ maxBytes: 999 });
    expect(await refusalCodeAsync(() => small.model.use('a'))).toBe('tensor-memory-bound');
  });

  it('SW-55: one who stops waiting ends an opening only when nobody else waits', async () => {
    const { model, source } = await openModel();
    source.shut();
    const controller = new AbortController();
    const { signal } = controller;
    const [impatient, patient] = [refusalCodeAsync(() => model.use('a', { signal })), model.use('a')];
    const alone = refusalCodeAsync(() => model.use('b', { signal }));
    controller.abort();
    expect([await impatient, await alone]).toEqual(['sealed-interrupted', 'sealed-interrupted']);
    source.unlock();
    expect((await patient).memory.bytes).toBe(1000);
    await expect.poll(() => model.heldBytes).toBe(1000);
    expect((await model.use('b')).memory.bytes).toBe(1000);
    expect(await refusalCodeAsync(() => model.use('c', { signal }))).toBe('sealed-interrupted');
    expect(source.opened).toBe(3);
  });

  it('SW-55: all who wait are told of a failure, and the next tries again', async () => {
    const { model, source } = await openModel();
    source.fails = true;
    const codes = await Promise.all([1, 2].map(() => refusalCodeAsync(() => model.use('a'))));
    expect(new Set(codes)).toEqual(new Set(['sealed-file-size']));
    expect(model.heldBytes).toBe(0);
    source.fails = false;
    expect((await model.use('a')).memory.bytes).toBe(1000);
  });

  it('SW-55: closing overwrites what is in use, ends what is being opened, and refuses what comes later', async () => {
    const { model, source } = await openModel();
    const used = await model.use('a');
    source.shut();
    const opening = refusalCodeAsync(() => model.use('b'));
    await expect.poll(() => source.opened).toBe(2);
    const closed = model.close();
    expect(refusalCode(() => used.memory.address)).toBe('memory-closed');
    source.unlock();
    await Promise.all([closed, model.close()]);
    expect(await opening).toMatch(/^(?:sealed-interrupted|tensor-bundle-closed)$/);
    expect(await refusalCodeAsync(() => model.use('a'))).toBe('tensor-bundle-closed');
    expect(model.heldBytes).toBe(0);
    used.release();
  });

  it('ends an opening that is stopped', async () => {
    const bundle = await SealedBundle.open(folder, TRUST);
    const opening = LazyBundle.open(bundle, modelKey, { signal: AbortSignal.abort() });
    expect(await refusalCodeAsync(() => opening)).toBe('sealed-interrupted');
  });
});
