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

/** Replaces fields of four and eight bytes by numbers at the edges of what they can hold. */
async function expectEdgesRefusedOrRead(reader: Reader, good: Uint8Array): Promise<void> {
  const edges = [
    0n,
    1n,
    31n,
    2n ** 16n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 53n - 1n,
    2n ** 53n,
    2n ** 63n,
    2n ** 64n - 1n,
  ];
  const width = fc.constantFrom(4, 8);
  const place = fc.nat({ max: good.length - 8 });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...edges), width, place, async (edge, bytes, at) => {
      const bad = Buffer.from(good);
      if (bytes === 8) bad.writeBigUInt64LE(edge, at);
      else bad.writeUInt32LE(Number(edge & 0xffffffffn), at);
      let asked = 0;
      const counting = (offset: number, length: number): Promise<Uint8Array> => {
        asked += length;
        return readFrom(bad)(offset, length);
      };
      const found = await refusalCodeAsync(() => reader('model', bad.length, counting));
      expect(found).toMatch(/^(?:accepted|weights-|shape-|utf8-)/);
      expect(asked).toBeLessThanOrEqual(4 * bad.length);
    }),
    { numRuns: 1000 },
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

  const numbers = (begin: string, end: string): string =>
    `{"a":{"dtype":"F32","shape":[1],"data_offsets":[${begin},${end}]}}`;

  const good = file({ __metadata__: { format: 'pt' }, a: entry(0, 8), b: entry(8, 12) }, 12);

  it('SW-24: lists the tensors of a sound file', async () => {
    const tensors = await read(readSafetensors, good);
    expect(tensors.map(({ name, bytes }) => [name, bytes])).toEqual([
      ['a', 8],
      ['b', 4],
    ]);
    expect(tensors[0]?.offset).toBe(good.length - 12);
    expect(await code(readSafetensors, file('{}   ', 0))).toBe('accepted');
    const oddNames = { '-1.5E+3': entry(0, 4), 'a"}:{[\\': entry(4, 8), 'é 1e5': entry(8, 12) };
    expect(await code(readSafetensors, file(oddNames, 12))).toBe('accepted');
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
    ['an object that is no tensor', 'shape-mismatch', file({ a: {} }, 0)],
    ['deep nesting', 'weights-header-malformed', file(`{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, 0)],
    ['brackets alone', 'weights-header-malformed', file(`{${'['.repeat(2 ** 22)}`, 0)],
    ['metadata that are no text', 'shape-mismatch', file({ __metadata__: { a: 1 } }, 0)],
    ['an offset below zero', 'weights-header-malformed', file(numbers('-4', '4'), 4)],
    ['an offset of minus zero', 'weights-header-malformed', file(numbers('-0', '4'), 4)],
    ['an offset with a fraction', 'weights-header-malformed', file(numbers('0', '4.0'), 4)],
    ['an offset with an exponent', 'weights-header-malformed', file(numbers('0', '4e0'), 4)],
    ['an offset in capitals', 'weights-header-malformed', file(numbers('0', '4E0'), 4)],
    ['an offset above 2^53', 'shape-mismatch', file(numbers('0', '9007199254740993'), 4)],
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
  it.each(damages)('SW-24, SW-25, SW-50, SW-51: %s is %s', async (_name, expected, bytes) => {
    expect(await code(readSafetensors, bytes)).toBe(expected);
  });

  it('SW-24: mutated and cut files give refusals only', async () => {
    await expectMutationsRefusedOrRead(readSafetensors, good);
    await expectEdgesRefusedOrRead(readSafetensors, good);
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

  // ggml.h `ggml_type` and ggml-common.h `block_*`: number, elements of a block, bytes of a block.
  const blocks =
    `0 1 4, 1 1 2, 2 32 18, 3 32 20, 6 32 22, 7 32 24, 8 32 34, 9 32 36, 10 256 84, 11 256 110, 12 256 144,
    13 256 176, 14 256 210, 15 256 292, 16 256 66, 17 256 74, 18 256 98, 19 256 50, 20 32 18, 21 256 110, 22 256 82,
    23 256 136, 24 1 1, 25 1 2, 26 1 4, 27 1 8, 28 1 8, 29 256 56, 30 1 2, 34 256 54, 35 256 66, 39 32 17, 40 64 36,
    41 128 18, 42 64 18`
      .split(',')
      .map((row) => row.trim().split(' ').map(Number) as [number, number, number]);
  it.each(blocks)('SW-51: type %i is of blocks of %i elements in %i bytes', async (type, elements, bytes) => {
    const sound = file({ tensors: [tensor('a', [2 * elements, 3], type, 0)], data: 6 * bytes });
    const [found] = await read(readGguf, sound);
    expect(found?.bytes).toBe(6 * bytes);
    const uneven = file({ tensors: [tensor('a', [elements + 1], type, 0)], data: 2 * bytes });
    if (elements > 1) expect(await code(readGguf, uneven)).toBe('weights-tensor-malformed');
  });

  it('SW-51: no other type is known', async () => {
    const known = new Set(blocks.map(([type]) => type));
    for (let type = 0; type < 64; type += 1) {
      if (known.has(type)) continue;
      const unknown = file({ tensors: [tensor('a', [256], type, 0)], data: 2048 });
      expect(await code(readGguf, unknown)).toBe('weights-tensor-malformed');
    }
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
      'an alignment of four',
      'weights-header-malformed',
      file({ metadata: [metadata('general.alignment', 4, u32(4))] }),
    ],
    [
      'a truth value of two',
      'weights-header-malformed',
      file({ metadata: [metadata('x', 7, Buffer.from([2]))] }),
    ],
    [
      'a list with a truth value of two',
      'weights-header-malformed',
      file({ metadata: [metadata('x', 9, Buffer.concat([u32(7), u64(3), Buffer.from([0, 1, 2])]))] }),
    ],
    [
      'more strings than there are bytes',
      'weights-header-malformed',
      file({ metadata: [metadata('x', 9, Buffer.concat([u32(8), u64(2n ** 40n)]))] }),
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
  it.each(damages)('SW-24, SW-25, SW-50, SW-51: %s is %s', async (_name, expected, bytes) => {
    expect(await code(readGguf, bytes)).toBe(expected);
  });

  it('SW-25: a vocabulary over many windows is passed, string by string', async () => {
    const strings = Array.from({ length: 60_000 }, (_, i) => text(`token ${i}`));
    const tokens = metadata('tokens', 9, Buffer.concat([u32(8), u64(strings.length), ...strings]));
    const long = file({ metadata: [tokens], tensors: one([8]), data: 32 });
    expect((await read(readGguf, long))[0]?.offset).toBe(long.length - 32);
    expect(await code(readGguf, long.subarray(0, 600_000))).toBe('weights-header-malformed');
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
    await expectEdgesRefusedOrRead(readGguf, good);
  });
});
