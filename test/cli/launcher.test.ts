import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { describe, expect, it } from 'vitest';

import { PROJECT } from '../support/command-line.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const run = promisify(execFile);

/** Whether a command keeps compiled code, and so would run what was kept. */
async function usesCompiledCode(command: string): Promise<boolean> {
  const folder = await temporaryFolder();
  const env = { ...process.env, NODE_COMPILE_CACHE: folder };
  await run(join(PROJECT, 'bin/weightgate'), [...command.split(' '), '--help'], { env });
  return (await readdir(folder)).length > 0;
}

describe('bin/weightgate', () => {
  it.each(['agent', 'agent run', 'agent program'])(
    'runs `%s` from the files that an agent measures, never from code compiled before',
    async (command) => {
      expect(await usesCompiledCode(command)).toBe(false);
    },
  );

  it.each(['key', 'agent identity', 'agent enrol'])('keeps what it compiled for `%s`', async (command) => {
    expect(await usesCompiledCode(command)).toBe(true);
  });
});
