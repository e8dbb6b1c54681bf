/**
 * The checks that a verifier of GPUs must make, one after the other, each by what an attacker would do were it left out. The
 * devices are simulated and everything that is signed has a real signature: what is refused is the one thing that was changed.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { AttackWorld } from './attack-world.ts';
import { CERTIFICATE_ROWS } from './attacks-on-certificates.ts';
import { MACHINE_ROWS } from './attacks-on-machines.ts';
import { MANIFEST_ROWS } from './attacks-on-manifests.ts';
import { REPORT_ROWS } from './attacks-on-reports.ts';

const ROWS = [...REPORT_ROWS, ...CERTIFICATE_ROWS, ...MANIFEST_ROWS, ...MACHINE_ROWS].toSorted(
  (left, right) => left.row - right.row,
);

let world: AttackWorld;

beforeAll(async () => {
  world = await AttackWorld.create();
});

describe('a GPU', () => {
  it('is accepted as it is, and so is the board, so that what is refused below is the attack', async () => {
    expect(await world.judge(world.gpu)).toEqual([]);
    expect(await world.judgeSet(world.board)).toEqual([]);
    expect(await world.underLabel('HOPPER')).toEqual([]);
    expect(await world.issued('driver', () => ({}))).toEqual([]);
  });
});

describe('the checks of a verifier', () => {
  it('are all there, each in its place', () => {
    expect(ROWS.map(({ row }) => row)).toEqual(Array.from({ length: 32 }, (_, i) => i + 1));
    for (const row of ROWS) {
      if ('attacks' in row) expect(row.attacks.length).toBeGreaterThan(0);
      else expect(existsSync(join(import.meta.dirname, '../../..', row.elsewhere)), row.because).toBe(true);
    }
  });

  const attacks = ROWS.flatMap((row) =>
    'attacks' in row ? row.attacks.map((attack) => [row.row, row.check, ...attack] as const) : [],
  );
  it.each(attacks)('%i, %s: %s', async (_row, _check, _what, refusals, attempt) => {
    expect(await attempt(world)).toEqual(refusals);
  });
});
