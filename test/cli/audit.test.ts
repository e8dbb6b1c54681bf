import { cp, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runCommand, succeed } from '../support/command-line.ts';
import { ORIGIN, Owner, POLICY } from '../support/owner.ts';

let owner: Owner;
let lines: readonly string[];
let manifest: string;

const audit = (...more: readonly string[]): readonly string[] => ['audit', ...owner.profile, ...more];
const hostile = 'leak\u001b[2J\nforged line';

beforeAll(async () => {
  owner = await Owner.create();
  await owner.seal('model', 'bundle');
  await owner.serve();
  const bundle = owner.path('bundle');
  const alice = ['--key', owner.path('alice.key'), ...owner.passphrase];
  await succeed('model', 'register', bundle, '--policy', POLICY, ...owner.signed);
  await succeed(
    'release',
    'promote',
    bundle,
    '--to',
    'research',
    '--reason',
    'first review',
    ...owner.signed,
  );
  const verified = await succeed('verify', bundle, ...owner.profile);
  manifest = verified.split(' ').at(-1) ?? '';
  await succeed('hold', '--model', manifest, '--reason', hostile, ...owner.profile, ...alice);
  const hold =
    /\[([0-9a-f]{64})\]/.exec(await succeed('release', 'status', bundle, ...owner.profile))?.[1] ?? '';
  await succeed('resume', hold, '--reason', 'explained', ...owner.signed);
  lines = (await succeed(...audit())).split('\n');
}, 120_000);

afterAll(async () => {
  await owner[Symbol.asyncDispose]();
});

describe('weightgate audit', () => {
  it('CL-6: says what each statement is about, why, and what came of it, each on one line', () => {
    const texts = lines.map((line) => line.slice(30).replaceAll(/\[[0-9a-f]{16}\]/g, '[…]'));
    const short = manifest.slice(0, 16);
    expect(texts).toEqual([
      `genesis    ${ORIGIN}: evaluation server, trust root of 2 persons`,
      expect.stringMatching(
        /^custody {4}the server: file custody 1 opened [0-9a-f]{32} -> wrapping keys by file: opened$/,
      ) as string,
      `statement  alice (Owner): register harbour 1.0 (aligned) as manifest ${short} […] -> signature 1 of 2`,
      `statement  bob (Owner): register harbour 1.0 (aligned) as manifest ${short} […] -> signature 2 of 2, model ${short} registered`,
      'statement  alice (Owner): promote harbour 1.0 from sealed to research: first review […] -> signature 1 of 2',
      'statement  bob (Owner): promote harbour 1.0 from sealed to research: first review […] -> signature 2 of 2, harbour 1.0 is in phase research',
      expect.stringMatching(
        /^statement {2}alice \(Owner\): hold harbour 1\.0: leak\?\[2J\?forged line \[…\] -> signature 1 of 1, harbour 1\.0 held as [0-9a-f]{64}$/,
      ) as string,
      'statement  alice (Owner): resume harbour 1.0: explained […] -> signature 1 of 2',
      'statement  bob (Owner): resume harbour 1.0: explained […] -> signature 2 of 2, harbour 1.0 resumed',
    ]);
  });

  it('reads the same from a copy of the home, from its log folder, and as JSON', async () => {
    await cp(owner.path('home'), owner.path('copy'), { recursive: true });
    for (const folder of ['copy', 'copy/log']) {
      expect((await succeed(...audit('--folder', owner.path(folder)))).split('\n')).toEqual(lines);
    }
    const report = JSON.parse(await succeed(...audit('--json'))) as { rows: unknown[]; alarms: unknown[] };
    expect(report.rows).toHaveLength(lines.length);
    expect(report.alarms).toEqual([]);
  });

  it('remembers what it verified, and refuses a log that contradicts it', async () => {
    const state = owner.path('state.json');
    await succeed(...audit('--state', state));
    const text = await readFile(state, 'utf8');
    await succeed(...audit('--state', state));
    await writeFile(state, text.replace(/"root":"......../, '"root":"00000000'));
    const split = await runCommand(...audit('--state', state));
    expect(split).toMatchObject({
      exitCode: 1,
      errors: expect.stringContaining('[log-split-view]') as string,
    });
    await writeFile(state, text.replace(/"size":"\d+"/, '"size":"1000"'));
    const shorter = await runCommand(...audit('--state', state));
    expect(shorter).toMatchObject({
      exitCode: 1,
      errors: expect.stringContaining('[log-too-short]') as string,
    });
  });

  it('finds a mirror that lacks a file incomplete, not broken', async () => {
    const outcome = await runCommand(...audit('--folder', owner.path('model')));
    expect(outcome).toMatchObject({
      exitCode: 4,
      errors: expect.stringContaining('[log-incomplete]') as string,
    });
  });
});
