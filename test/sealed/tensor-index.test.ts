import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { KeyMemory } from '../../native/memory/key-memory.ts';
import type { SecretMemory } from '../../native/memory/secret-memory.ts';
import { SealedBundle } from '../../src/sealed/reader.ts';
import { FolderSource } from '../../src/sealed/source/folder-source.ts';
import type { BundleSource, SourceFile } from '../../src/sealed/source/source.ts';
import { TensorIndex } from '../../src/sealed/tensor-index.ts';
import { sealFolder } from '../../src/sealed/writer.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import {
  deterministicBytes,
  MODEL,
  modelKeyMemory,
  signer,
  temporaryFolder,
  TRUST,
  writeFolder,
} from './fixtures.ts';
import type { Files } from './second-implementation.ts';
import { ggufFile, safetensorsFile, shardIndex, type SmallTensor } from './weight-files.ts';

const CHUNK = 4 * 1024 * 1024;

const tensor = (name: string, length: number): SmallTensor => ({
  name,
  content: deterministicBytes(length, name),
});

const FIRST = [tensor('embed', CHUNK + 100), tensor('norm', 64), tensor('empty', 0)];
const SECOND = [tensor('layer', 2 * CHUNK), tensor('head', 500)];
const SHARDS = { 'model-1.safetensors': FIRST, 'model-2.safetensors': SECOND };
const GGUF = [tensor('norm', 64), tensor('gguf.only', 33)];

let modelKey: KeyMemory;
beforeAll(() => {
  modelKey = modelKeyMemory();
});
afterAll(() => {
  modelKey.close();
});

async function sealed(files: Files): Promise<string> {
  const folder = join(temporaryFolder(), 'bundle');
  await sealFolder(writeFolder(files), folder, { model: MODEL, modelKey, signers: [signer] });
  return folder;
}

function model(index: Uint8Array): Files {
  return new Map<string, Uint8Array>([
    ['config.json', Buffer.from('{}')],
    ['model-1.safetensors', safetensorsFile(FIRST)],
    ['model-2.safetensors', safetensorsFile(SECOND)],
    ['model.safetensors.index.json', index],
    ['other/model.GGUF', ggufFile(GGUF)],
  ]);
}

/** Counts what is read of the weights. */
class WatchedSource implements BundleSource {
  readonly description = 'watched';
  readonly concurrentReads = 4;
  readonly reads: string[] = [];
  readonly #source: BundleSource;

  constructor(source: BundleSource) {
    this.#source = source;
  }

  readSmall: BundleSource['readSmall'] = (...given) => this.#source.readSmall(...given);
  inventory: BundleSource['inventory'] = () => this.#source.inventory();
  locate: BundleSource['locate'] = (path) => this.#source.locate(path);

  async open(path: string, bytes: number): Promise<SourceFile> {
    const file = await this.#source.open(path, bytes);
    return {
      path,
      bytes,
      fileDescriptor: file.fileDescriptor,
      read: (target, offset, length, options) => {
        this.reads.push(`${path}@${offset / CHUNK}`);
        return file.read(target, offset, length, options);
      },
      close: () => file.close(),
    };
  }
}

function contentOf(memory: SecretMemory): Uint8Array {
  return memory.read(0, memory.bytes);
}

describe('the index of tensors', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await sealed(model(shardIndex(SHARDS)));
  });

  async function withIndex<T>(work: (index: TensorIndex, source: WatchedSource) => Promise<T>): Promise<T> {
    const source = new WatchedSource(await FolderSource.at(folder));
    const unlocked = (await SealedBundle.open(source, TRUST)).unlock(modelKey);
    try {
      return await work(await TensorIndex.open(unlocked), source);
    } finally {
      unlocked.close();
    }
  }

  it('SW-52, SW-53: lists the tensors of shards and GGUF files with their files', async () => {
    const listed = await withIndex((index) => Promise.resolve(index.tensors));
    expect(listed.map(({ path, name, type, shape, bytes }) => [path, name, type, shape, bytes])).toEqual([
      ...FIRST.map(({ name, content }) => [
        'model-1.safetensors',
        name,
        'U8',
        [content.length],
        content.length,
      ]),
      ...SECOND.map(({ name, content }) => [
        'model-2.safetensors',
        name,
        'U8',
        [content.length],
        content.length,
      ]),
      ...GGUF.map(({ name, content }) => ['other/model.GGUF', name, 'I8', [content.length], content.length]),
    ]);
  });

  it('SW-54: opens the bytes of each tensor and no other', async () => {
    await withIndex(async (index) => {
      for (const { path, name } of index.tensors) {
        const memory = await index.readTensor(name, { path });
        const expected = [...FIRST, ...SECOND, ...GGUF].find((other) => other.name === name);
        expect(Buffer.compare(contentOf(memory), expected?.content ?? Buffer.from('none'))).toBe(0);
        expect(() => {
          memory.seal();
        }).toThrow('memory-closed');
        memory.close();
      }
    });
  });

  it('SW-54: reads the chunks of the tensor alone', async () => {
    await withIndex(async (index, source) => {
      source.reads.length = 0;
      (await index.readTensor('head')).close();
      expect(source.reads).toEqual(['model-2.safetensors@2']);
      source.reads.length = 0;
      (await index.readTensor('embed')).close();
      expect(source.reads).toEqual(['model-1.safetensors@0', 'model-1.safetensors@1']);
      source.reads.length = 0;
      (await index.readTensor('empty')).close();
      expect(source.reads).toEqual([]);
    });
  });

  it('SW-53: refuses names of no tensor and of several', async () => {
    await withIndex(async (index) => {
      const code = (name: string, path?: string): Promise<string> =>
        refusalCodeAsync(() => index.readTensor(name, { path }));
      expect(await code('Norm')).toBe('tensor-unknown');
      expect(await code('norm')).toBe('tensor-ambiguous');
      expect(await code('norm', 'config.json')).toBe('tensor-unknown');
      expect(index.find('norm', 'other/model.GGUF').bytes).toBe(64);
    });
  });

  it('SW-54: a chunk that was changed is refused, of the tensor that it belongs to and of no other', async () => {
    const damaged = await sealed(model(shardIndex(SHARDS)));
    const place = join(damaged, 'model-2.safetensors');
    const ciphertext = readFileSync(place);
    ciphertext[2 * CHUNK + 5] = (ciphertext[2 * CHUNK + 5] ?? 0) ^ 1;
    writeFileSync(place, ciphertext);
    const unlocked = (await SealedBundle.open(damaged, TRUST)).unlock(modelKey);
    const index = await TensorIndex.open(unlocked);
    expect(await refusalCodeAsync(() => index.readTensor('head'))).toBe('sealed-chunk-tag');
    const sound = await index.readTensor('embed');
    expect(sound.bytes).toBe(CHUNK + 100);
    sound.close();
    unlocked.close();
  });

  it('ends when it is told to', async () => {
    await withIndex(async (index) => {
      const signal = AbortSignal.abort();
      expect(await refusalCodeAsync(() => index.readTensor('head', { signal }))).toBe('sealed-interrupted');
    });
    const unlocked = (await SealedBundle.open(folder, TRUST)).unlock(modelKey);
    const opening = refusalCodeAsync(() => TensorIndex.open(unlocked, AbortSignal.abort()));
    expect(await opening).toBe('sealed-interrupted');
    unlocked.close();
  });
});

describe('indexes of shards', () => {
  const [embed, norm, empty] = FIRST;
  const json = (weightMap: object): Buffer => Buffer.from(JSON.stringify({ weight_map: weightMap }));
  const sound = { embed: 'a.safetensors', norm: 'a.safetensors', empty: 'a.safetensors' };

  const cases: readonly [string, string, Buffer][] = [
    ['a sound one', 'accepted', json(sound)],
    ['one that lacks a tensor', 'weights-index-disagrees', json({ ...sound, norm: undefined })],
    ['one with a tensor too many', 'weights-index-disagrees', json({ ...sound, more: 'a.safetensors' })],
    ['one that names another file', 'weights-index-disagrees', json({ ...sound, norm: 'b.safetensors' })],
    ['one that leads elsewhere', 'weights-index-disagrees', json({ ...sound, norm: '../a.safetensors' })],
    ['one of files that hold no tensors', 'weights-index-disagrees', json({ ...sound, norm: 'config.json' })],
    ['one that is no JSON', 'weights-index-malformed', Buffer.from('{')],
    [
      'one with a name twice',
      'weights-index-malformed',
      Buffer.from('{"weight_map":{"a":"a.safetensors","a":"a.safetensors"}}'),
    ],
    [
      'one that nests',
      'weights-index-malformed',
      Buffer.from(`{"metadata":${'['.repeat(9)}${']'.repeat(9)}}`),
    ],
    ['one without a map', 'shape-mismatch', Buffer.from('{}')],
    ['one with more members', 'shape-mismatch', Buffer.from('{"weight_map":{},"x":1}')],
    ['one that is no text', 'utf8-malformed', Buffer.from([0x7b, 0xff, 0x7d])],
  ];
  it.each(cases)('SW-52: %s is %s', async (_name, expected, index) => {
    const folder = await sealed(
      new Map<string, Uint8Array>([
        ['config.json', Buffer.from('{}')],
        ['part/a.safetensors', safetensorsFile([embed!, norm!, empty!])],
        ['part/b.safetensors', safetensorsFile([tensor('other', 1)])],
        ['part/x.safetensors.index.json', index],
      ]),
    );
    const unlocked = (await SealedBundle.open(folder, TRUST)).unlock(modelKey);
    expect(await refusalCodeAsync(() => TensorIndex.open(unlocked))).toBe(expected);
    unlocked.close();
  });
});
