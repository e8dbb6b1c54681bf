/**
 * SW-24, SW-50, SW-51: the readers take what the formats' own writers write, installed for this test from PyPI. Where they
 * are not to be had, the tests are skipped and say why.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { readGguf } from '../../src/sealed/gguf.ts';
import { readSafetensors } from '../../src/sealed/safetensors.ts';
import { installPythonPackages, type PythonPackages } from '../support/python-packages.ts';
import { temporaryFolder } from './fixtures.ts';

const PACKAGES = ['safetensors==0.8.0', 'gguf==0.19.0', 'numpy==2.4.6'];

/** Each prints what it wrote: for each tensor its name, the number of its bytes and their SHA-256. */
const WRITE_SAFETENSORS = `
import hashlib, json, sys
import numpy as np
from safetensors import TensorSpec, serialize_file

SIZES = {'bool': 1, 'uint8': 1, 'int8': 1, 'uint16': 2, 'int16': 2, 'float16': 2, 'bfloat16': 2, 'uint32': 4, 'int32': 4,
         'float32': 4, 'uint64': 8, 'int64': 8, 'float64': 8, 'complex64': 8,
         'float8_e4m3fn': 1, 'float8_e5m2': 1, 'float8_e8m0fnu': 1}
tensors, said, kept = {}, [], []
random = np.random.default_rng(7)
for name, size in SIZES.items():
    for shape in ([3, 5], [], [0, 4]):
        data = random.bytes(int(np.prod(shape)) * size)
        buffer = np.frombuffer(data or b'x', dtype=np.uint8)
        kept.append(buffer)
        title = f'{name} "{shape}" \\u00e9\\n'
        address = buffer.ctypes.data
        tensors[title] = TensorSpec(dtype=name, shape=shape, data_ptr=address, data_len=len(data))
        said.append([title, shape, len(data), hashlib.sha256(data).hexdigest()])
serialize_file(tensors, sys.argv[1], {'format': 'np', 'note': '{"a": [1.5e3]}'})
print(json.dumps(said))
`;

const WRITE_GGUF = `
import hashlib, json, sys
import numpy as np
import gguf

writer = gguf.GGUFWriter(sys.argv[1], 'llama')
writer.add_custom_alignment(64)
writer.add_bool('x.bool', True)
writer.add_float64('x.float', 1.5)
writer.add_int8('x.small', -3)
writer.add_uint64('x.large', 2**63)
writer.add_array('x.bools', [True, False])
writer.add_array('x.numbers', list(range(1000)))
writer.add_token_list([f'token {i} \\u00e9' for i in range(20000)])
said = []
random = np.random.default_rng(7)
for kind, (elements, size) in gguf.GGML_QUANT_SIZES.items():
    # The writer takes a block of Q8_1 for 40 bytes; ggml asserts that it has 36.
    if kind.name == 'Q8_1':
        continue
    data = np.frombuffer(random.bytes(3 * 2 * size), dtype=np.uint8).reshape(3, 2 * size)
    writer.add_tensor(kind.name, data, raw_dtype=kind)
    said.append([kind.name, [2 * elements, 3], data.nbytes, hashlib.sha256(data.tobytes()).hexdigest()])
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
print(json.dumps(said))
`;

let tool: PythonPackages;
let place: string;
beforeAll(async () => {
  place = temporaryFolder();
  tool = await installPythonPackages(temporaryFolder(), PACKAGES);
}, 400_000);

type Said = readonly [name: string, shape: readonly number[], bytes: number, sha256: string];

async function expectSame(script: string, name: string, reader: typeof readGguf): Promise<void> {
  const path = join(place, name);
  const { exitCode, text } = await tool.python('-c', script, path);
  expect([exitCode, text]).toEqual([0, expect.stringMatching(/^\[\[/)]);
  const file = readFileSync(path);
  const tensors = await reader(name, file.length, (offset, length) =>
    Promise.resolve(file.subarray(offset, offset + length)),
  );
  const found = tensors.map((tensor): Said => {
    const content = file.subarray(tensor.offset, tensor.offset + tensor.bytes);
    return [tensor.name, tensor.shape, tensor.bytes, createHash('sha256').update(content).digest('hex')];
  });
  const said = JSON.parse(text) as Said[];
  const byName = (left: Said, right: Said): number => (left[0] < right[0] ? -1 : 1);
  expect(found.toSorted(byName)).toEqual(said.toSorted(byName));
}

describe('writers of weight files', () => {
  it(
    'SW-50: safetensors of all types that its Python package writes',
    { timeout: 60_000 },
    async (context) => {
      if (tool.missing !== undefined) context.skip(tool.missing);
      await expectSame(WRITE_SAFETENSORS, 'model.safetensors', readSafetensors);
    },
  );

  it('SW-51: GGUF of all types that its Python package knows', { timeout: 60_000 }, async (context) => {
    if (tool.missing !== undefined) context.skip(tool.missing);
    await expectSame(WRITE_GGUF, 'model.gguf', readGguf);
  });
});
