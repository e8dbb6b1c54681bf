/** Seals a folder once and reports the time. */

import { readFileSync } from 'node:fs';

import { KeyMemory } from '../../native/memory/key-memory.ts';
import { newSeed, signerFromSeed } from '../../src/keys/ed25519-seed.ts';
import { sealFolder } from '../../src/sealed/writer.ts';
import { readMemory } from '../support/memory.ts';
import { moduleArguments, report } from '../support/program.ts';

export interface SealArguments {
  readonly source: string;
  readonly target: string;
  readonly modelKeyFile: string;
  readonly threads?: number;
  readonly portable?: boolean;
}

export interface SealReport {
  readonly manifestDigest: string;
  readonly seconds: number;
  readonly bytes: number;
  /** What the process held before it began: the program itself. */
  readonly beforeBytes: number;
  /** The most that it ever held; the sealed files are no part of it. */
  readonly peakBytes: number;
}

const { source, target, modelKeyFile, threads, portable } = moduleArguments() as SealArguments;
const modelKey = KeyMemory.take(readFileSync(modelKeyFile));
const before = readMemory('self');
const startedAt = performance.now();
const { manifestDigest, totalBytes } = await sealFolder(source, target, {
  model: { name: 'benchmark', version: '1', variant: 'base' },
  modelKey,
  signers: [signerFromSeed(newSeed())],
  threads,
  portable,
});
const seconds = (performance.now() - startedAt) / 1000;
modelKey.close();
report({
  manifestDigest,
  seconds,
  bytes: totalBytes,
  beforeBytes: before === undefined ? 0 : before.anonymous + before.file,
  peakBytes: readMemory('self')?.peak ?? 0,
} satisfies SealReport);
