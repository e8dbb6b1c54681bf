/** `npm run bench:first-token`: from the start of `weightgate agent run` to the first token, and where the time goes. */

import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Command } from 'commander';

import { parsePositiveInteger } from '../../src/cli/arguments.ts';
import { describeFailure } from '../../src/cli/failure.ts';
import { withInterruption } from '../../src/cli/interruption.ts';
import { MODEL_FILE } from '../../test/support/road-model.ts';
import { Road } from '../../test/support/road.ts';
import { describeMachine, machineLine } from '../support/machine.ts';
import { readThrough, touchMemory } from '../support/warm.ts';
import { describeTimes, type Found } from './report.ts';
import { makeRandomModel, timeAgent, timePlainEngine, timeStart } from './steps.ts';

interface Options {
  readonly parameters: number;
  readonly runs: number;
  readonly json?: string;
}

const command = new Command('bench:first-token')
  .description('Measures the way of an agent from its start to the first token of a model of random weights.')
  .option('--parameters <number>', 'of the model, a byte each', parsePositiveInteger, 950_000_000)
  .option('--runs <number>', 'of the agent; one more before them is not counted', parsePositiveInteger, 3)
  .option('--json <file>', 'write the figures of all runs to a file too');

async function measure({ parameters, runs, json }: Options, signal: AbortSignal): Promise<void> {
  const machine = describeMachine();
  process.stderr.write('making a model, a server, a TPM in software and a sealed bundle\n');
  const road = await Road.build({ makeModel: (folder) => makeRandomModel(folder, parameters) });
  try {
    const found = await measureRuns(road, runs, signal);
    process.stdout.write(`${machineLine(machine)}\n${found.modelBytes} bytes of weights, ${runs} runs\n\n`);
    process.stdout.write(`${describeTimes(found)}\n`);
    if (json !== undefined) await writeFile(json, `${JSON.stringify({ machine, ...found }, null, 2)}\n`);
  } finally {
    await road.close();
  }
}

async function measureRuns(road: Road, runs: number, signal: AbortSignal): Promise<Found> {
  const [plain, sealed] = ['model', 'bundle'].map((folder) => join(road.path(folder), MODEL_FILE)) as [
    string,
    string,
  ];
  const { size: modelBytes } = await stat(plain);
  const found = { agent: [], start: [], plain: [] } as {
    [Name in keyof Found['runs']]: Found['runs'][Name][number][];
  };
  for (let run = 0; run <= runs; run += 1) {
    process.stderr.write(run === 0 ? 'warming up\n' : `run ${run}\n`);
    touchMemory(modelBytes);
    await readThrough(sealed, signal);
    const agent = await timeAgent(road);
    const start = await timeStart(road);
    await readThrough(plain, signal);
    const engine = await timePlainEngine(road, signal);
    if (run === 0) continue;
    found.agent.push(agent);
    found.start.push(start);
    found.plain.push(engine);
  }
  return { modelBytes, runs: found };
}

command.action((options: Options) => withInterruption((signal) => measure(options, signal)));
try {
  await command.parseAsync();
} catch (error) {
  const { text, exitCode } = describeFailure(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}
