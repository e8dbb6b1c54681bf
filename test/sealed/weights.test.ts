import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { readGguf } from '../../src/sealed/gguf.ts';
import { readSafetensors } from '../../src/sealed/safetensors.ts';
import type { TensorEntry } from '../../src/sealed/tensors.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';

type Reader = typeof readGguf;

function readFrom(bytes: Uint8Array) {
  return (offset: number, length: number): Promise<Uint8Array> => {
    // The contract of the readers: they never ask for anything outside of the file.
    expect(offset + length).toBeLessThanOrEqual(bytes.length);
    expect(Math.min(offset, length)).toBeGreaterThanOrEqual(0);
    return Promise.resolve(bytes.subarray(offset, offset + length));
  };
}

function read(reader: Reader, bytes: Uint8Array): Promise<readonly TensorEntry[]> {
  return reader('model', bytes.length, readFrom(bytes));
}

function code(reader: Reader, bytes: Uint8Array): Promise<string> {
  return refusalCodeAsync(() => read(reader, bytes));
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

async function expectMutationsRefusedOrRead(reader: Reader, good: Uint8Array): Promise<void> {
  const mutations = fc.array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.integer({ min: 0, max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  await fc.assert(
    fc.asyncProperty(mutations, fc.nat({ max: good.length }), async (changes, length) => {
      const bad = Uint8Array.from(good);
      for (const [at, value] of changes) bad[at] = value;
      expect(typeof (await code(reader, bad))).toBe('string');
      if (length < good.length) expect(await code(reader, good.subarray(0, length))).not.toBe('accepted');
    }),
    { numRuns: 300 },
  );
}

describe('safetensors', () => {
  const entry = (begin: number, end: number): object => ({
    dtype: 'F32',
    shape: [(end - begin) / 4],
    data_offsets: [begin, end],
  });

  function file(header: unknown, dataBytes: number): Buffer {
    const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
    return Buffer.concat([u64(text.length), text, Buffer.alloc(dataBytes)]);
  }

  const good = file({ __metadata__: { format: 'pt' }, a: entry(0, 8), b: entry(8, 12) }, 12);

  it('SW-24: lists the tensors of a sound file', async () => {
    const tensors = await read(readSafetensors, good);
    expect(tensors.map(({ name, bytes }) => [name, bytes])).toEqual([
      ['a', 8],
      ['b', 4],
    ]);
    expect(tensors[0]?.offset).toBe(good.length - 12);
    expect(await code(readSafetensors, file('{}   ', 0))).toBe('accepted');
    const packed = { dtype: 'F4', shape: [3, 2], data_offsets: [0, 3] };
    expect(await code(readSafetensors, file({ packed, none: entry(3, 3) }, 3))).toBe('accepted');
  });

  const damages: readonly [string, string, Buffer][] = [
    ['no length', 'weights-header-malformed', Buffer.alloc(7)],
    ['a header beyond the file', 'weights-header-too-large', Buffer.concat([u64(100), Buffer.from('{}')])],
    [
      'a header of 2^63 bytes',
      'weights-header-too-large',
      Buffer.concat([u64(2n ** 63n), Buffer.from('{}')]),
    ],
    [
      'a header over the limit',
      'weights-header-too-large',
      Buffer.concat([u64(2 ** 24 + 1), Buffer.alloc(2 ** 24 + 9)]),
    ],
    ['an array', 'weights-header-malformed', file('[]', 0)],
    ['white space before the object', 'weights-header-malformed', file(' {}', 0)],
    ['text after the object', 'weights-header-malformed', file('{}x', 0)],
    ['text that is not JSON', 'weights-header-malformed', file('{a}', 0)],
    ['bytes that are not UTF-8', 'utf8-malformed', Buffer.concat([u64(3), Buffer.from([0x7b, 0xff, 0x7d])])],
    ['an unknown member', 'shape-mismatch', file({ a: { ...entry(0, 4), extra: 1 } }, 4)],
    ['deep nesting', 'shape-mismatch', file(`{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, 0)],
    [
      'an unknown type',
      'weights-tensor-malformed',
      file({ a: { dtype: 'X', shape: [1], data_offsets: [0, 4] } }, 4),
    ],
    [
      'a type of every object',
      'weights-tensor-malformed',
      file({ a: { dtype: 'toString', shape: [1], data_offsets: [0, 4] } }, 4),
    ],
    [
      'a shape that does not fit',
      'weights-tensor-malformed',
      file({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 4] } }, 4),
    ],
    [
      'a shape that overflows',
      'weights-tensor-malformed',
      file({ a: { dtype: 'F32', shape: [2 ** 40, 2 ** 40], data_offsets: [0, 4] } }, 4),
    ],
    [
      'offsets that go back',
      'weights-tensor-malformed',
      file({ a: { dtype: 'F32', shape: [1], data_offsets: [4, 0] } }, 4),
    ],
    [
      'a name twice',
      'weights-duplicate-name',
      file(`{"a":${JSON.stringify(entry(0, 4))},"a":${JSON.stringify(entry(0, 4))}}`, 4),
    ],
    [
      'a member twice',
      'weights-duplicate-name',
      file('{"a":{"dtype":"F16","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    ],
    [
      'a name twice in two spellings',
      'weights-duplicate-name',
      file(`{"a":${JSON.stringify(entry(0, 4))},"\\u0061" :${JSON.stringify(entry(0, 4))}}`, 4),
    ],
    ['an overlap', 'weights-tensor-overlap', file({ a: entry(0, 8), b: entry(4, 12) }, 12)],
    ['a hole', 'weights-tensor-hole', file({ a: entry(0, 4), b: entry(8, 12) }, 12)],
    ['a tensor beyond the file', 'weights-tensor-outside', file({ a: entry(0, 8) }, 4)],
    ['bytes after the last tensor', 'weights-trailing', file({ a: entry(0, 4) }, 5)],
  ];
  it.each(damages)('SW-24, SW-25: %s is %s', async (_name, expected, bytes) => {
    expect(await code(readSafetensors, bytes)).toBe(expected);
  });

  it('SW-24: mutated and cut files give refusals only', async () => {
    await expectMutationsRefusedOrRead(readSafetensors, good);
  });
});

describe('GGUF', () => {
  const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
  const metadata = (key: string, type: number, value: Buffer): Buffer =>
    Buffer.concat([text(key), u32(type), value]);
  const tensor = (name: string, shape: number[], type: number, offset: number): Buffer =>
    Buffer.concat([text(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset)]);

  interface Parts {
    readonly version?: number;
    readonly metadata?: readonly Buffer[];
    readonly tensors?: readonly Buffer[];
    readonly data?: number;
    readonly alignment?: number;
  }

  function file({
    version = 3,
    metadata: pairs = [],
    tensors = [],
    data = 0,
    alignment = 32,
  }: Parts): Buffer {
    const counts = [u64(tensors.length), u64(pairs.length)];
    const header = Buffer.concat([Buffer.from('GGUF'), u32(version), ...counts, ...pairs, ...tensors]);
    const padding = Buffer.alloc((alignment - (header.length % alignment)) % alignment);
    return Buffer.concat([header, padding, Buffer.alloc(data)]);
  }

  const pairs = [
    metadata('general.architecture', 8, text('llama')),
    metadata('general.alignment', 4, u32(64)),
    metadata('tokens', 9, Buffer.concat([u32(8), u64(2), text('a'), text('b')])),
    metadata('scores', 9, Buffer.concat([u32(6), u64(2), Buffer.alloc(8)])),
    metadata('flag', 7, Buffer.from([1])),
  ];
  const tensors = [tensor('a', [4, 2], 0, 0), tensor('b', [32], 8, 64)];
  const good = file({ metadata: pairs, tensors, data: 64 + 34, alignment: 64 });

  it('SW-24: lists the tensors of a sound file', async () => {
    const found = await read(readGguf, good);
    const dataStart = good.length - 98;
    expect(found).toEqual([
      { name: 'a', type: 'F32', shape: [4, 2], offset: dataStart, bytes: 32 },
      { name: 'b', type: 'Q8_0', shape: [32], offset: dataStart + 64, bytes: 34 },
    ]);
    expect(await code(readGguf, Buffer.concat([good, Buffer.alloc(30)]))).toBe('accepted');
    expect(await code(readGguf, file({}))).toBe('accepted');
    expect(await code(readGguf, file({ version: 2 }))).toBe('accepted');
  });

  const one = (shape: number[], type = 0): Buffer[] => [tensor('a', shape, type, 0)];
  const damages: readonly [string, string, Buffer][] = [
    ['no magic', 'weights-header-malformed', Buffer.from('GGML')],
    ['an empty file', 'weights-header-malformed', Buffer.alloc(0)],
    ['another version', 'weights-header-malformed', file({ version: 4 })],
    ['big-endian', 'weights-header-malformed', file({ version: 0x03000000 })],
    [
      'too many tensors',
      'weights-header-too-large',
      Buffer.concat([Buffer.from('GGUF'), u32(3), u64(65_537), u64(0)]),
    ],
    [
      '2^60 metadata',
      'weights-header-malformed',
      Buffer.concat([Buffer.from('GGUF'), u32(3), u64(0), u64(2n ** 60n)]),
    ],
    ['a metadata name twice', 'weights-duplicate-name', file({ metadata: [pairs[4]!, pairs[4]!] })],
    ['a name that is too long', 'weights-header-malformed', file({ metadata: [u64(70_000)] })],
    ['an unknown type of value', 'weights-header-malformed', file({ metadata: [metadata('x', 13, u64(0))] })],
    [
      'an array of arrays',
      'weights-header-malformed',
      file({ metadata: [metadata('x', 9, Buffer.concat([u32(9), u64(1)]))] }),
    ],
    [
      'an array beyond the file',
      'weights-header-malformed',
      file({ metadata: [metadata('x', 9, Buffer.concat([u32(0), u64(2n ** 50n)]))] }),
    ],
    [
      'an alignment of three',
      'weights-header-malformed',
      file({ metadata: [metadata('general.alignment', 4, u32(3))] }),
    ],
    [
      'an alignment of another type',
      'weights-header-malformed',
      file({ metadata: [metadata('general.alignment', 8, text('x'))] }),
    ],
    [
      'a tensor name twice',
      'weights-duplicate-name',
      file({ tensors: [...one([8]), ...one([8])], data: 64 }),
    ],
    ['no dimension', 'weights-tensor-malformed', file({ tensors: one([]) })],
    ['five dimensions', 'weights-tensor-malformed', file({ tensors: one([1, 1, 1, 1, 1]), data: 4 })],
    ['an unknown element type', 'weights-tensor-malformed', file({ tensors: one([1], 4), data: 4 })],
    ['half a block', 'weights-tensor-malformed', file({ tensors: one([16], 8), data: 17 })],
    [
      'a shape that overflows',
      'weights-tensor-malformed',
      file({ tensors: one([2 ** 50, 2 ** 50]), data: 4 }),
    ],
    [
      'an overlap',
      'weights-tensor-overlap',
      file({ tensors: [...one([16]), tensor('b', [8], 0, 32)], data: 64 }),
    ],
    ['a hole', 'weights-tensor-hole', file({ tensors: [...one([8]), tensor('b', [8], 0, 64)], data: 96 })],
    [
      'an offset beside the alignment',
      'weights-tensor-hole',
      file({ tensors: [...one([7]), tensor('b', [8], 0, 33)], data: 96 }),
    ],
    ['a tensor beyond the file', 'weights-tensor-outside', file({ tensors: one([8]), data: 31 })],
    ['bytes after the last tensor', 'weights-trailing', file({ tensors: one([8]), data: 33 })],
  ];
  it.each(damages)('SW-24, SW-25: %s is %s', async (_name, expected, bytes) => {
    expect(await code(readGguf, bytes)).toBe(expected);
  });

  it('SW-25: metadata over the limit is refused without being read', async () => {
    const fileBytes = 2 ** 40;
    const head = Buffer.concat([
      Buffer.from('GGUF'),
      u32(3),
      u64(0),
      u64(1),
      text('x'),
      u32(8),
      u64(2 ** 30),
    ]);
    const start = Buffer.alloc(300 * 1024);
    head.copy(start);
    const found = await refusalCodeAsync(() =>
      readGguf('model', fileBytes, (offset, length) =>
        Promise.resolve(start.subarray(offset, offset + length)),
      ),
    );
    expect(found).toBe('weights-header-too-large');
  });

  it('SW-24: mutated and cut files give refusals only', async () => {
    await expectMutationsRefusedOrRead(readGguf, good);
  });
});
