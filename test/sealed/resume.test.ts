import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { KeyMemory } from '../../native/memory/key-memory.ts';
import { sealFolder, unfinishedSealing, type SealOptions } from '../../src/sealed/writer.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import {
  deterministicBytes,
  MODEL,
  MODEL_KEY,
  modelKeyMemory,
  readFolder,
  SALT,
  signer,
  specificationInput,
  temporaryFolder,
  writeFolder,
} from './fixtures.ts';
import { sealBySpecification } from './second-implementation.ts';

const PROGRAM = fileURLToPath(new URL('./seal-until-killed.ts', import.meta.url));

/** More files than two batches of the sealer take. */
const files = new Map(
  Array.from({ length: 600 }, (_, i) => [
    `weights/${String(i).padStart(3, '0')}.bin`,
    deterministicBytes(100 + i, `file ${i}`),
  ]),
);

/** As many files as a batch takes. */
const BATCH_FILES = 256;
const firstBytes = (batches: number): number =>
  [...files.values()].slice(0, batches * BATCH_FILES).reduce((sum, { length }) => sum + length, 0);

let modelKey: KeyMemory;
beforeAll(() => {
  modelKey = modelKeyMemory();
});
afterAll(() => {
  modelKey.close();
});

const begun: string[] = [];
function options(extra: Partial<SealOptions> = {}): SealOptions {
  return {
    model: MODEL,
    modelKey,
    signers: [signer],
    onBegin: (commitment) => {
      begun.push(commitment);
      return Promise.resolve();
    },
    fillRandom: (bytes) => {
      bytes.set(SALT);
    },
    ...extra,
  };
}

/** Stops the work when its second batch is written, if perhaps not yet durable: the first is finished then. */
function stoppedHalfway(): Pick<SealOptions, 'signal' | 'onProgress'> {
  const abort = new AbortController();
  return {
    signal: abort.signal,
    onProgress: ({ doneBytes, totalBytes }) => {
      if (doneBytes >= firstBytes(2) && doneBytes < totalBytes) abort.abort();
    },
  };
}

async function interruptedSealing(source: string): Promise<string> {
  const target = join(temporaryFolder(), 'bundle');
  const code = await refusalCodeAsync(() => sealFolder(source, target, options(stoppedHalfway())));
  expect(code).toBe('sealed-interrupted');
  return target;
}

function beside(target: string): readonly string[] {
  return readdirSync(dirname(target)).sort();
}

describe.each([false, true])('an interrupted sealing, portable: %s', (portable) => {
  it('SW-27, SW-28: goes on, and makes the bundle that it would have made', async () => {
    const source = writeFolder(files);
    const target = join(temporaryFolder(), 'bundle');
    begun.length = 0;
    const stopped = options({ ...stoppedHalfway(), portable });
    expect(await refusalCodeAsync(() => sealFolder(source, target, stopped))).toBe('sealed-interrupted');
    expect(beside(target)).toEqual(['bundle.partial', 'bundle.sealing']);
    expect([unfinishedSealing(target)]).toEqual(begun);

    const done: number[] = [];
    const onProgress: SealOptions['onProgress'] = ({ doneBytes }) => done.push(doneBytes);
    await sealFolder(source, target, options({ onProgress, portable }));
    expect(Math.min(...done)).toBeGreaterThanOrEqual(firstBytes(1));
    expect(begun.length).toBe(1);
    expect(beside(target)).toEqual(['bundle']);
    const expected = sealBySpecification(specificationInput(files));
    const found = readFolder(target);
    expect([...found.keys()]).toEqual([...expected.keys()].sort());
    for (const [path, bytes] of expected) expect(found.get(path), path).toEqual(new Uint8Array(bytes));
  });
});

describe('a sealing that was killed', () => {
  it('SW-27, SW-28: goes on after SIGKILL', async () => {
    const source = writeFolder(files);
    const target = join(temporaryFolder(), 'bundle');
    const { signal } = spawnSync(process.execPath, [
      '--no-warnings',
      PROGRAM,
      source,
      target,
      String(firstBytes(2)),
    ]);
    expect(signal).toBe('SIGKILL');
    expect(existsSync(`${target}.sealing`)).toBe(true);
    // What was being written when the process ended is written anew.
    writeFileSync(join(`${target}.partial`, 'weights/599.bin'), 'half');
    await sealFolder(source, target, options());
    const expected = sealBySpecification(specificationInput(files));
    for (const [path, bytes] of readFolder(target)) {
      expect(bytes, path).toEqual(new Uint8Array(expected.get(path) ?? []));
    }
    expect(beside(target)).toEqual(['bundle']);
  });
});

describe('SW-28: what is not the same sealing', () => {
  async function refusedAndUntouched(
    source: string,
    target: string,
    extra: Partial<SealOptions>,
  ): Promise<string> {
    const before = readFolder(dirname(target));
    const code = await refusalCodeAsync(() => sealFolder(source, target, options(extra)));
    expect(readFolder(dirname(target))).toEqual(before);
    return code;
  }

  it('another key', async () => {
    const source = writeFolder(files);
    const target = await interruptedSealing(source);
    const other = KeyMemory.take(Uint8Array.from(MODEL_KEY, (byte) => byte ^ 1));
    expect(await refusedAndUntouched(source, target, { modelKey: other })).toBe('sealed-unfinished-other');
    other.close();
    await sealFolder(source, target, options());
  });

  it('another model', async () => {
    const source = writeFolder(files);
    const target = await interruptedSealing(source);
    const model = { ...MODEL, version: '2' };
    expect(await refusedAndUntouched(source, target, { model })).toBe('sealed-unfinished-other');
  });

  it.each([
    [
      'a byte more',
      (path: string): void => {
        appendFileSync(path, 'x');
      },
    ],
    [
      'the same bytes written again',
      (path: string): void => {
        writeFileSync(path, readFileSync(path));
      },
    ],
  ])('a file that changed: %s', async (_, change) => {
    const source = writeFolder(files);
    const target = await interruptedSealing(source);
    change(join(source, 'weights/007.bin'));
    expect(await refusedAndUntouched(source, target, {})).toBe('sealed-unfinished-other');
  });

  it('a file that came later', async () => {
    const source = writeFolder(files);
    const target = await interruptedSealing(source);
    writeFileSync(join(source, 'more'), 'x');
    expect(await refusedAndUntouched(source, target, {})).toBe('sealed-unfinished-other');
  });

  it('a record of another version', async () => {
    const source = writeFolder(files);
    const target = await interruptedSealing(source);
    const { DatabaseSync } = await import('node:sqlite');
    const record = new DatabaseSync(`${target}.sealing`);
    record.exec('UPDATE sealing SET version = 2');
    record.close();
    expect(await refusedAndUntouched(source, target, {})).toBe('sealed-unfinished-other');
  });

  it('a record that is no record', async () => {
    const source = writeFolder(files);
    const target = await interruptedSealing(source);
    writeFileSync(`${target}.sealing`, 'not a database at all, but long enough to be looked at as one');
    expect(await refusedAndUntouched(source, target, {})).toBe('sealed-not-written');
  });
});

describe('a sealing that can be gone on with', () => {
  it('SW-29: is done by one sealer at a time', async () => {
    const source = writeFolder(files);
    const target = join(temporaryFolder(), 'bundle');
    let second = '';
    const onBegin = async (): Promise<void> => {
      second = await refusalCodeAsync(() => sealFolder(source, target, options()));
    };
    await sealFolder(source, target, options({ onBegin }));
    expect(second).toBe('sealed-unfinished-busy');
    expect(beside(target)).toEqual(['bundle']);
  });

  it('SW-26: leaves nothing when it fails', async () => {
    const source = writeFolder(files);
    const target = join(temporaryFolder(), 'bundle');
    const changing = {
      onProgress: (): void => {
        appendFileSync(join(source, 'weights/599.bin'), 'x');
      },
    };
    expect(await refusalCodeAsync(() => sealFolder(source, target, options(changing)))).toBe(
      'sealed-source-changed',
    );
    expect(beside(target)).toEqual([]);
  });

  it('KC-11: stands under its name only after the key was stored under its manifest', async () => {
    const source = writeFolder(files);
    const target = join(temporaryFolder(), 'bundle');
    const onManifest = (digest: string): Promise<void> => {
      expect(digest).toMatch(/^[0-9a-f]{64}$/);
      expect(existsSync(target)).toBe(false);
      return Promise.reject(new Error('the store is full'));
    };
    expect(await refusalCodeAsync(() => sealFolder(source, target, options({ onManifest })))).toBe(
      'sealed-not-written',
    );
    expect(beside(target)).toEqual([]);
  });
});
