/** `npm run kill-matrix`: what a release log comes back with, however its process and its disk ended. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Command } from 'commander';

import { parsePositiveInteger } from '../../src/cli/arguments.ts';
import { describeFailure } from '../../src/cli/failure.ts';
import { describeResults, runRow, Workshop, type RowResult } from './matrix.ts';
import { ROWS } from './rows.ts';
import { WitnessService } from './witness-service.ts';

interface Options {
  readonly most: number;
  readonly only?: string;
}

async function main({ most, only = '' }: Options): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'weightgate-kill-matrix-'));
  await using witnesses = await WitnessService.start();
  const workshop = new Workshop(folder, witnesses);
  const results: RowResult[] = [];
  try {
    for (const row of ROWS.filter(({ fault }) => fault.includes(only))) {
      results.push(await runRow(row, workshop, most));
      process.stderr.write(`${row.fault}: done\n`);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  process.stdout.write(`${describeResults(results)}\n`);
  if (results.some(({ violations }) => violations.length > 0)) process.exitCode = 1;
}

const command = new Command('kill-matrix')
  .description('Disturbs a release log at every point of an append and checks what it comes back with.')
  .option('--most <points>', 'of each row, evenly chosen', parsePositiveInteger, 100_000)
  .option('--only <words>', 'rows whose name has these words')
  .action(main);

try {
  await command.parseAsync();
} catch (error) {
  const { text, exitCode } = describeFailure(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}
