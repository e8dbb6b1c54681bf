import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const MAIN = fileURLToPath(new URL('../../../scripts/tiny-model/main.ts', import.meta.url));
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tiny-model-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

function run(...options: readonly string[]): Promise<{ code: number; output: string; errors: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, ...options],
      { cwd: folder },
      (_error, output, errors) => {
        resolve({ code: child.exitCode ?? -1, output, errors });
      },
    );
  });
}

describe('the command', () => {
  it('writes a model and says how large it is', async () => {
    const { code, output } = await run('--out', 'random.gguf', '--random', '--parameters', '2000000');
    expect(code).toBe(0);
    expect(output).toMatch(/^random\.gguf: \d+ parameters, \d+\.\d MB\n$/);
    expect((await stat(join(folder, 'random.gguf'))).size).toBeGreaterThan(1_500_000);
  });

  it('exits 130 when it is interrupted and leaves no file', async () => {
    const before = await readdir(folder);
    const size = ['--random', '--parameters', '20000000000'];
    const child = spawn(process.execPath, [MAIN, '--out', 'large.gguf', ...size], { cwd: folder });
    const ended = once(child, 'exit');
    await vi.waitUntil(async () => (await readdir(folder)).length > before.length, { timeout: 20_000 });
    child.kill('SIGINT');
    expect(await ended).toEqual([130, null]);
    expect(await readdir(folder)).toEqual(before);
  });

  it.each([
    [2, 'tiny-model-usage', []],
    [2, 'tiny-model-usage', ['--out', 'x', '--random']],
    [2, 'tiny-model-parameters', ['--out', 'x', '--random', '--parameters', '5']],
    [2, 'Expected a whole number', ['--out', 'x', '--random', '--parameters', '-5']],
    [2, 'cannot be used with', ['--out', 'x', '--directory', 'y']],
    [5, 'tiny-model-file', ['--out', 'x', '--corpus', 'missing.txt']],
    [3, 'tiny-model-corpus-malformed', ['--out', 'x', '--corpus', MAIN]],
  ])('exits %i with %s and leaves no file (%#)', async (expected, message, options) => {
    const before = await readdir(folder);
    const { code, errors } = await run(...options);
    expect(code).toBe(expected);
    expect(errors).toContain(message);
    expect(await readdir(folder)).toEqual(before);
  });
});
