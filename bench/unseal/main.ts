/** `npm run bench:unseal`: how fast weights come into memory, beside what this machine and other programs can do. */

import { availableParallelism, tmpdir } from 'node:os';
import { writeFile } from 'node:fs/promises';

import { Command, Option } from 'commander';

import { parsePositiveInteger } from '../../src/cli/arguments.ts';
import { describeFailure } from '../../src/cli/failure.ts';
import { withInterruption } from '../../src/cli/interruption.ts';
import { describeMachine, machineLine } from '../support/machine.ts';
import { parseSize } from '../support/size.ts';
import { Workplace } from '../support/workplace.ts';
import { judge } from './bars.ts';
import { measureBig } from './big.ts';
import { Context } from './context.ts';
import { limitRows } from './limits.ts';
import { otherRows } from './others.ts';
import { ourRows } from './ours.ts';
import { describeBars, describeRows } from './report.ts';
import { measureRows } from './rounds.ts';
import type { MissingRow, Row } from './row.ts';

interface Options {
  readonly bytes: number;
  readonly runs: number;
  readonly big?: number;
  readonly only?: readonly string[];
  readonly folder: string;
  readonly json?: string;
}

/** Copies of the plaintext under one cipher or another, the output included. */
const FILES_ON_DISK = 8;

const command = new Command('bench:unseal')
  .description('Measures opening and sealing of weights beside plain copies and other programs.')
  .option('--bytes <size>', 'of the weights', parseSize, parseSize('2g'))
  .option('--runs <number>', 'of each row; one more before them is not counted', parsePositiveInteger, 5)
  .addOption(
    new Option('--big [size]', 'also the memory at a larger size (20g)').preset('20g').argParser(parseSize),
  )
  .option('--only <rows>', 'only rows whose names begin so, divided by commas', (text) => text.split(','))
  .option('--folder <folder>', 'where the files go; they are removed at the end', tmpdir())
  .option('--json <file>', 'write the figures of all runs to a file too');

async function selectRows(context: Context, only: readonly string[] | undefined) {
  const rows: readonly (Row | MissingRow)[] = [
    ...limitRows(context),
    ...ourRows(context),
    ...(await otherRows(context)),
  ];
  return only === undefined ? rows : rows.filter(({ name }) => only.some((start) => name.startsWith(start)));
}

async function measure(options: Options, signal: AbortSignal): Promise<void> {
  const { bytes, runs } = options;
  const machine = describeMachine();
  await using workplace = await Workplace.open(options.folder);
  const needed = FILES_ON_DISK * bytes;
  if ((await workplace.available()) < needed)
    command.error(`${options.folder} has no room for ${needed} bytes`);
  const context = new Context(workplace, bytes, signal);
  const rows = await measureRows(await selectRows(context, options.only), {
    ...{ runs, bytes, signal },
    onRun: (round, { name }) => process.stderr.write(`${round === 0 ? 'check' : `run ${round}`}: ${name}\n`),
  });
  const big = options.big === undefined ? undefined : await measureBig(context, options.big);
  const bars = judge(rows, big);
  print(`${machineLine(machine)}\n${bytes} bytes, ${runs} runs, ${availableParallelism()} threads at most\n`);
  print(describeRows(big === undefined ? rows : [...rows, big]));
  print(`\n${describeBars(bars)}`);
  if (options.json !== undefined) {
    const found = { machine, bytes, runs, rows, ...(big === undefined ? {} : { big }), bars };
    await writeFile(options.json, `${JSON.stringify(found, null, 2)}\n`);
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

command.action((options: Options) => withInterruption((signal) => measure(options, signal)));
try {
  await command.parseAsync();
} catch (error) {
  const { text, exitCode } = describeFailure(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}
