/**
 * Runs test vectors: every entry of a manifest against this project's verifiers.
 *
 * Usage: npm run vectors -- CLASS [FOLDER]
 *
 * FOLDER holds manifest.json and its files; without it the shared vectors of the class are run. Prints one line for each
 * vector and each mutation, separated by tabs: agreement, subject, expected, got, refusal codes. Exits with 0 when all
 * agree or the difference is explained, with 1 at the first one that is not, with 2 when called wrongly.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { vectorClasses } from '../test/support/vector-classes.ts';
import { openVectorFolder } from '../test/support/vector-folder.ts';
import { runVectors } from '../test/support/vector-runner.ts';
import { vectorFolder } from '../test/support/vectors.ts';

const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function main(className: string | undefined, folder: string | undefined): Promise<number> {
  const vectorClass = vectorClasses.get(className ?? '');
  if (vectorClass === undefined) {
    process.stderr.write(`Usage: npm run vectors -- ${[...vectorClasses.keys()].join('|')} [FOLDER]\n`);
    return 2;
  }
  const place = folder ?? vectorFolder(vectorClass.name);
  if (!existsSync(join(place, 'manifest.json'))) {
    process.stderr.write(`There is no manifest.json in ${place}.\n`);
    return 2;
  }
  const { lines, explained, disagreement } = await runVectors(vectorClass, openVectorFolder(place), print);
  const outcome = disagreement === undefined ? 'all agree' : `stopped at ${disagreement.subject}`;
  print(`${lines} lines, ${explained} of them explained: ${outcome}`);
  return disagreement === undefined ? 0 : 1;
}

const { positionals } = parseArgs({ allowPositionals: true });
process.exitCode = await main(positionals[0], positionals[1]);
