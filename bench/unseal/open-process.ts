/** Opens a bundle into memory once and reports the time, the memory and where the result lies. */

import { readFileSync } from 'node:fs';

import { KeyMemory } from '../../native/memory/key-memory.ts';
import type { MemoryBacking } from '../../native/memory/secret-memory.ts';
import { SealedBundle } from '../../src/sealed/reader.ts';
import { unseal, type UnsealedBundle } from '../../src/sealed/unseal.ts';
import { readMemory } from '../support/memory.ts';
import { moduleArguments, report } from '../support/program.ts';
import { requireSame } from './same.ts';

export interface OpenArguments {
  readonly folder: string;
  readonly manifestDigest: string;
  readonly modelKeyFile: string;
  /** All cores when there is none. */
  readonly threads?: number;
  readonly portable: boolean;
  /** The plaintext, to compare the result with. */
  readonly expected?: string;
}

export interface OpenReport {
  readonly seconds: number;
  readonly bytes: number;
  readonly way: UnsealedBundle['way'];
  readonly backing: MemoryBacking;
  /** What the process held before it began: the program itself. */
  readonly beforeBytes: number;
  /** The most that was ever resident, less the pages of the result that are mapped. */
  readonly besideBytes: number;
  readonly pageTableBytes: number;
}

const { folder, manifestDigest, modelKeyFile, threads, portable, expected } =
  moduleArguments() as OpenArguments;
const bundle = await SealedBundle.open(folder, { digest: manifestDigest });
const modelKey = KeyMemory.take(readFileSync(modelKeyFile));
const before = readMemory('self');
const startedAt = performance.now();
const opened = await unseal(bundle, modelKey, { threads, portable });
const seconds = (performance.now() - startedAt) / 1000;
const after = readMemory('self');
modelKey.close();
const [memory] = opened.files.values();
if (memory === undefined || before === undefined || after === undefined)
  throw new Error('nothing was opened');
if (expected !== undefined) requireSame(expected, (offset, length) => memory.read(offset, length));
report({
  seconds,
  bytes: bundle.totalBytes,
  way: opened.way,
  backing: memory.backing,
  beforeBytes: before.anonymous + before.file,
  besideBytes: after.peak - after.shared,
  pageTableBytes: after.pageTables,
} satisfies OpenReport);
opened.close();
