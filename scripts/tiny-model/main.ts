/** `node scripts/tiny-model/main.ts`: makes a model where none can be downloaded. */

import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';

import { RefusalError } from '../../attestation/core/refusal.ts';
import { EXIT_CODES } from '../../src/cli/failure.ts';
import { generateModelDirectory } from './directory.ts';
import { DEFAULT_SEED, generateTinyModel, readVocabulary } from './generate.ts';
import { generateRandomModel } from './random.ts';
import { tinyModelUsage } from './refusals.ts';
import type { ModelSummary } from './write.ts';

interface Options {
  readonly out?: string;
  readonly directory?: string;
  readonly corpus?: string;
  readonly seed?: string;
  readonly random?: true;
  readonly parameters?: number;
}

function parseCount(text: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}

const command = new Command('tiny-model')
  .description('Makes a small language model (GGUF, Q8_0) from a text, in seconds, without training.')
  .option('--out <file>', 'write the model as one GGUF file')
  .addOption(
    new Option('--directory <folder>', 'write a model folder: GGUF, safetensors and small files').conflicts(
      'out',
    ),
  )
  .option('--corpus <file>', 'text to make it from (default: corpus.txt beside this script)')
  .option('--seed <text>', 'choose other codes for the tokens')
  .addOption(new Option('--random', 'random weights instead, for benchmarks').conflicts('directory'))
  .option('--parameters <number>', 'size of a model with random weights', parseCount)
  .exitOverride();

const INTERRUPTED = 130;
const interruption = new AbortController();
// Only the first interrupt is handled: a second one ends the process as usual.
process.once('SIGINT', () => {
  interruption.abort();
});

async function generate(options: Options): Promise<ModelSummary> {
  const { out, directory, corpus, seed, random, parameters } = options;
  const { signal } = interruption;
  const source = {
    signal,
    ...(corpus === undefined ? {} : { corpus }),
    ...(seed === undefined ? {} : { seed }),
  };
  if (directory !== undefined) return generateModelDirectory({ directory, ...source });
  if (out === undefined) return refuseUsage('--out', '--out FILE or --directory FOLDER');
  if ((random === true) !== (parameters !== undefined)) {
    return refuseUsage('--parameters', '--random and --parameters together');
  }
  if (parameters === undefined) return generateTinyModel({ out, ...source });
  const { tokens } = await readVocabulary(corpus);
  return generateRandomModel({ out, parameters, seed: seed ?? DEFAULT_SEED, tokens, signal });
}

function refuseUsage(field: string, expected: string): never {
  throw tinyModelUsage.error('tiny-model-usage', { field, expected, found: 'something else' });
}

function exitCodeOf(error: unknown): number {
  if (interruption.signal.aborted) return INTERRUPTED;
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODES.usage;
  if (!(error instanceof RefusalError)) throw error;
  process.stderr.write(`${error.message}\n${error.refusal.hint}\n`);
  return EXIT_CODES[error.family];
}

try {
  const options = command.parse().opts<Options>();
  const { parameters, tensorBytes } = await generate(options);
  const megabytes = (tensorBytes / 1e6).toFixed(1);
  process.stdout.write(
    `${options.out ?? options.directory ?? ''}: ${parameters} parameters, ${megabytes} MB\n`,
  );
} catch (error) {
  process.exitCode = exitCodeOf(error);
}
