/** `npm run bench:log`: how fast decisions are logged, and how fast a long log is verified. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Command, Option } from 'commander';

import { parsePositiveInteger } from '../../src/cli/arguments.ts';
import { describeFailure } from '../../src/cli/failure.ts';
import { postgresMissing, TestPostgres } from '../../test/support/postgres.ts';
import { describeMachine, machineLine } from '../support/machine.ts';
import { measureAppending, measureSyncs, type Appending, type Manner } from './appending.ts';
import { READINGS, measureReading, type ReadRow } from './reading.ts';
import { describeAppending, describeBars, describeReading, judge } from './report.ts';
import { LocalWitnesses } from './witnesses.ts';

interface Options {
  readonly only?: 'append' | 'read';
  readonly seconds: number;
  readonly entries: number;
  readonly runs: number;
  readonly folder: string;
  readonly json?: string;
}

/** A long log is compared with one of a tenth of its entries. */
const TENTH = 10;
const COUNTS = [1, 2, 4, 8];

/** SQLite has one writer, to whom several submit; PostgreSQL has several, each with its own. */
function manners(): readonly Manner[] {
  return [false, true].flatMap((witnessed) => [
    ...COUNTS.map((submitters) => ({ storage: 'SQLite' as const, writers: 1, submitters, witnessed })),
    ...COUNTS.map((writers) => ({ storage: 'PostgreSQL' as const, writers, submitters: 1, witnessed })),
  ]);
}

async function appendAll(
  folder: string,
  options: Options,
  signal: AbortSignal,
): Promise<readonly Appending[]> {
  await using witnesses = await LocalWitnesses.start();
  const cluster = postgresMissing === undefined ? await TestPostgres.start() : undefined;
  const conditions = {
    folder,
    seconds: options.seconds,
    signal,
    createDatabase: cluster === undefined ? undefined : () => cluster.createDatabase(),
    addWitness: (privateKey: string) => witnesses.add(privateKey),
  };
  const rows: Appending[] = [];
  try {
    for (const [i, manner] of manners().entries()) {
      if (manner.storage === 'PostgreSQL' && cluster === undefined) continue;
      rows.push(await measureAppending(manner, `append-${i}`, conditions));
      process.stderr.write(`${manner.storage}: ${manner.writers} writers, ${manner.submitters} submitters\n`);
    }
  } finally {
    await cluster?.remove();
  }
  return rows;
}

async function readAll(
  folder: string,
  { entries, runs }: Options,
  signal: AbortSignal,
): Promise<readonly ReadRow[]> {
  const few = Math.ceil(entries / TENTH);
  const small = await measureReading(folder, few, ['audit-mirror', 'audit-database'], { runs, signal });
  return [...small, ...(await measureReading(folder, entries, READINGS, { runs, signal }))];
}

async function main(options: Options): Promise<void> {
  const { signal } = new AbortController();
  const folder = await mkdtemp(join(options.folder, 'weightgate-bench-log-'));
  const machine = describeMachine();
  const parts: string[] = [machineLine(machine)];
  const found: Record<string, unknown> = { machine };
  try {
    if (options.only !== 'read') {
      const syncsPerSecond = await measureSyncs(folder, options.seconds);
      const appending = await appendAll(folder, options, signal);
      parts.push(describeAppending(appending, syncsPerSecond));
      if (postgresMissing !== undefined) parts.push(`PostgreSQL: ${postgresMissing}`);
      Object.assign(found, { syncsPerSecond, appending });
    }
    if (options.only !== 'append') {
      const reading = await readAll(folder, options, signal);
      const bars = judge(reading, Math.ceil(options.entries / TENTH), options.entries);
      parts.push(describeReading(reading), describeBars(bars));
      Object.assign(found, { reading, bars });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  process.stdout.write(`${parts.join('\n\n')}\n`);
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(found, null, 2)}\n`);
}

const command = new Command('bench:log')
  .description('Measures how fast decisions are logged, and how fast a long log is verified.')
  .addOption(new Option('--only <part>', 'one of the two parts').choices(['append', 'read']))
  .option('--seconds <number>', 'of each way of appending', parsePositiveInteger, 5)
  .option('--entries <number>', 'of the long log', parsePositiveInteger, 1_000_000)
  .option('--runs <number>', 'of each reading', parsePositiveInteger, 3)
  .option('--folder <path>', 'on the disk that is measured', tmpdir())
  .option('--json <file>', 'write the figures to a file too')
  .action(main);

try {
  await command.parseAsync();
} catch (error) {
  const { text, exitCode } = describeFailure(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}
