import { mkdir, readdir } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runCommand, startCommand } from '../support/command-line.ts';
import { makeRandomModel, Owner } from '../support/owner.ts';

/** Weights of about 200 MB: long enough to be interrupted while they are sealed. */
const PARAMETERS = 190_000_000;
const POLL_MILLISECONDS = 5;

let owner: Owner;

beforeAll(async () => {
  owner = await Owner.create();
  await mkdir(owner.path('large'));
  await makeRandomModel(owner.path('large/model.gguf'), PARAMETERS);
}, 120_000);

afterAll(async () => {
  await owner[Symbol.asyncDispose]();
});

/** Waits until the bundle is being written: its folder stands there under a name that is not its own. */
async function untilWriting(folder: string, name: string): Promise<void> {
  for (;;) {
    const names = await readdir(folder);
    if (names.includes(`${name}.partial`)) return;
    if (names.includes(name)) throw new Error('sealed before it could be interrupted');
    await pause(POLL_MILLISECONDS);
  }
}

describe('an interrupt', () => {
  it.each<[NodeJS.Signals, number]>([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])(
    'CL-2, SW-27: %s while a model is sealed ends with %i, and the next run goes on',
    async (signal, exitCode) => {
      const folder = owner.path(signal);
      await mkdir(folder);
      const target = `${folder}/bundle`;
      const sealing = [...owner.sealing('large'), '--out', target];
      const command = startCommand(sealing);
      await untilWriting(folder, 'bundle');
      command.child.kill(signal);
      expect(await command.outcome).toEqual({
        exitCode,
        output: '',
        errors:
          `unfinished: run the same command again to go on, or remove ${target}.partial and ${target}.sealing\n` +
          `weightgate: interrupted by ${signal}\n`,
      });
      expect((await readdir(folder)).sort()).toEqual(['bundle.partial', 'bundle.sealing']);
      const again = await runCommand(...sealing);
      expect(again.errors).toContain('going on with the sealing that was interrupted');
      expect(again.exitCode).toBe(0);
      expect(await readdir(folder)).toEqual(['bundle']);
      const verified = await runCommand('verify', target, ...owner.profile);
      expect(verified.exitCode).toBe(0);
    },
  );

  it('CL-2: ends a server in good order, and it starts again', async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      await owner.serve();
      expect(await owner.stop(signal)).toBe(signal === 'SIGINT' ? 130 : 143);
    }
    const { exitCode } = await runCommand('audit', ...owner.profile, '--folder', owner.path('home'));
    expect(exitCode).toBe(0);
  });
});
