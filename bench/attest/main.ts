/** `npm run bench:attest`: how many reports of guests, GPUs and both are verified in a second, beside the signatures alone. */

import { availableParallelism } from 'node:os';
import { writeFile } from 'node:fs/promises';

import { Command } from 'commander';

import { parsePositiveInteger } from '../../src/cli/arguments.ts';
import { describeFailure } from '../../src/cli/failure.ts';
import { describeMachine, machineLine } from '../support/machine.ts';
import { spreadOf } from '../support/statistics.ts';
import type { Spread } from '../support/statistics.ts';
import { formatTable } from '../support/table.ts';
import { makeSubject } from './reports.ts';
import type { Subject } from './reports.ts';
import { Threads } from './threads.ts';
import { WORKS } from './work.ts';
import type { Work, WorkResult } from './work.ts';

interface Options {
  readonly seconds: number;
  readonly runs: number;
  readonly json?: string;
}

/** Of the machine's raw P-384 verifications, with the chain in memory. */
const LEAST_OF_RAW = 0.7;

const LABELS: Readonly<Record<Work, string>> = {
  raw: 'P-384 signatures, node:crypto',
  known: 'reports, chain in memory',
  new: 'reports, chain new each time',
  gpuAuthentic: 'GPU reports, authenticity alone',
  gpu: 'GPU reports with manifests',
  rawPair: 'two P-384 signatures, node:crypto',
  machine: 'bundles of a guest and a GPU',
};

/** The signatures alone, of which a kind of work has as many. */
const RAW_OF: Readonly<Record<Work, Work>> = {
  raw: 'raw',
  known: 'raw',
  new: 'raw',
  gpuAuthentic: 'raw',
  gpu: 'raw',
  rawPair: 'rawPair',
  machine: 'rawPair',
};

interface Row {
  readonly work: Work;
  readonly threads: number;
  readonly perSecond: Spread;
  /** Per second of processor time: what is left when other programs take turns on the cores. */
  readonly perProcessorSecond: Spread;
}

/** All kinds of work take turns, so that what else goes on meets each of them alike. */
async function measure(
  subject: Subject,
  threads: number,
  { runs, seconds }: Options,
): Promise<readonly Row[]> {
  await using workers = await Threads.start(threads, subject);
  const results = new Map<Work, WorkResult[]>(WORKS.map((work) => [work, []]));
  for (let run = 0; run < runs; run += 1) {
    for (const work of WORKS) results.get(work)?.push(await workers.run({ work, seconds }));
    process.stderr.write(`${threads} threads, run ${run + 1} of ${runs}\n`);
  }
  return [...results].map(([work, found]) => ({
    work,
    threads,
    perSecond: spreadOf(found.map((result) => result.verifications / result.seconds)),
    perProcessorSecond: spreadOf(found.map((result) => result.verifications / result.processorSeconds)),
  }));
}

interface Bar {
  readonly what: string;
  readonly passed: boolean;
  readonly found: string;
}

function ratio(rows: readonly Row[], row: Row, figure: 'perSecond' | 'perProcessorSecond'): number {
  const raw = rows.find(({ work, threads }) => work === RAW_OF[row.work] && threads === row.threads);
  return raw === undefined ? 0 : row[figure].median / raw[figure].median;
}

function judge(rows: readonly Row[]): readonly Bar[] {
  return rows
    .filter(({ work }) => work === 'known')
    .map((row) => {
      const found = ratio(rows, row, 'perProcessorSecond');
      return {
        what: `${row.threads} threads: at least ${LEAST_OF_RAW} of the signatures alone, by processor time`,
        passed: found >= LEAST_OF_RAW,
        found: `${found.toFixed(2)} (${ratio(rows, row, 'perSecond').toFixed(2)} by the clock)`,
      };
    });
}

function describeRows(rows: readonly Row[]): string {
  const columns = ['', 'threads', 'per second', 'least..greatest', 'of raw', 'per CPU second', 'of raw'];
  const cells = rows.map((row) => [
    LABELS[row.work],
    String(row.threads),
    row.perSecond.median.toFixed(0),
    `${row.perSecond.least.toFixed(0)}..${row.perSecond.greatest.toFixed(0)}`,
    ratio(rows, row, 'perSecond').toFixed(2),
    row.perProcessorSecond.median.toFixed(0),
    ratio(rows, row, 'perProcessorSecond').toFixed(2),
  ]);
  return formatTable(
    columns.map((title, i) => ({ title, align: i === 0 ? 'left' : 'right' })),
    cells,
  );
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(options: Options): Promise<void> {
  const machine = describeMachine();
  const subject = await makeSubject();
  const counts = [...new Set([1, availableParallelism()])];
  const rows: Row[] = [];
  for (const threads of counts) rows.push(...(await measure(subject, threads, options)));
  const bars = judge(rows);
  print(`${machineLine(machine)}\n${options.runs} runs of ${options.seconds} s each, medians\n`);
  print(describeRows(rows));
  print('');
  for (const { what, passed, found } of bars) print(`${passed ? 'pass  ' : 'missed'}  ${what}: ${found}`);
  if (options.json !== undefined) {
    await writeFile(options.json, `${JSON.stringify({ machine, rows, bars }, null, 2)}\n`);
  }
}

const command = new Command('bench:attest')
  .description(
    'Measures how many reports of guests and GPUs are verified in a second, beside the signatures alone.',
  )
  .option('--seconds <number>', 'of each run', parsePositiveInteger, 2)
  .option('--runs <number>', 'of each kind of work', parsePositiveInteger, 5)
  .option('--json <file>', 'write the figures to a file too')
  .action(main);

try {
  await command.parseAsync();
} catch (error) {
  const { text, exitCode } = describeFailure(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}
