import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { ggufFile, safetensorsFile } from '../sealed/weight-files.ts';
import { runCommand, succeed } from '../support/command-line.ts';
import { Owner } from '../support/owner.ts';

const NORM = Buffer.from('norm of the first');
const OTHER = Buffer.from('norm of the other');
const ODD_NAME = 'odd\u202e\n"é';

describe('weightgate bundle tensors', () => {
  let owner: Owner;
  beforeAll(async () => {
    owner = await Owner.create();
    await mkdir(owner.path('small'));
    const tensors = [
      { name: 'norm', content: NORM },
      { name: ODD_NAME, content: Buffer.alloc(3) },
    ];
    await writeFile(owner.path('small/a.safetensors'), safetensorsFile(tensors));
    await writeFile(owner.path('small/b.gguf'), ggufFile([{ name: 'norm', content: OTHER }]));
    await owner.seal('small', 'bundle');
  }, 180_000);
  afterAll(async () => {
    await owner[Symbol.asyncDispose]();
  });

  const list = (...more: readonly string[]): readonly string[] => [
    ...['bundle', 'tensors', owner.path('bundle'), '--home', owner.path('home'), ...owner.passphrase],
    ...more,
  ];
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

  it('SW-53, CL-6: lists the tensors, one on each line', { timeout: 120_000 }, async () => {
    const lines = (await succeed(...list())).split('\n');
    expect(lines.map((line) => line.split(/ {2,}/))).toEqual([
      ['tensor', 'type', 'shape', 'bytes', 'offset', 'file'],
      ['norm', 'U8', '[17]', '17', expect.any(String), 'a.safetensors'],
      ['odd??"é', 'U8', '[3]', '3', expect.any(String), 'a.safetensors'],
      ['norm', 'I8', '[17]', '17', '64', 'b.gguf'],
    ]);
    expect((await succeed(...list('--file', 'b.gguf'))).split('\n').slice(1)).toEqual([
      expect.stringMatching(/^norm .* b\.gguf$/),
    ]);
    expect((await runCommand(...list('--file', 'c.gguf'))).errors).toContain('[sealed-file-unknown]');
  });

  it('prints one JSON document', async () => {
    const text = await succeed(...list('--json'));
    expect(text).toMatch(/^[\x20-\x7e]+$/);
    const { tensors } = JSON.parse(text) as { tensors: { name: string; offset: number }[] };
    expect(tensors.map(({ name }) => name)).toEqual(['norm', ODD_NAME, 'norm']);
    const file = await readFile(owner.path('small/a.safetensors'));
    const offset = tensors[0]?.offset ?? 0;
    expect(file.subarray(offset, offset + NORM.length)).toEqual(NORM);
  });

  it('SW-54: prints the digest of one tensor', { timeout: 120_000 }, async () => {
    expect(await succeed(...list('--digest', 'norm', '--file', 'a.safetensors'))).toBe(sha256(NORM));
    expect(await succeed(...list('--digest', 'norm', '--file', 'b.gguf'))).toBe(sha256(OTHER));
    const ambiguous = await runCommand(...list('--digest', 'norm'));
    expect(ambiguous).toMatchObject({ exitCode: 2, output: '' });
    expect(ambiguous.errors).toContain('[tensor-ambiguous]');
    expect((await runCommand(...list('--digest', 'norm', '--json'))).exitCode).toBe(2);
    expect((await runCommand(...list('--digest', 'x'))).errors).toContain('[tensor-unknown]');
  });
});
