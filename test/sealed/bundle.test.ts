import { existsSync, readdirSync, readFileSync, symlinkSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { KeyMemory } from '../../native/memory/key-memory.ts';
import { SealedBundle, type UnlockedBundle } from '../../src/sealed/reader.ts';
import { unseal } from '../../src/sealed/unseal.ts';
import { sealFolder } from '../../src/sealed/writer.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import {
  deterministicBytes,
  MODEL,
  MODEL_KEY,
  modelKeyMemory,
  publicKey,
  readFolder,
  SALT,
  signer,
  specificationInput,
  temporaryFolder,
  TRUST,
  writeFolder,
} from './fixtures.ts';
import { openBySpecification, sealBySpecification } from './second-implementation.ts';

const CHUNK = 4 * 1024 * 1024;
const VECTOR = fileURLToPath(new URL('../vectors/sealed/worked-example', import.meta.url));

const files = new Map(
  [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 77].map((length) => [
    `weights/${length}.bin`,
    deterministicBytes(length, `file ${length}`),
  ]),
).set('config.json', Buffer.from('{}\n'));

let modelKey: KeyMemory;
beforeAll(() => {
  modelKey = modelKeyMemory();
});
afterAll(() => {
  modelKey.close();
});

async function seal(source: string, salt = SALT): Promise<{ folder: string; digest: string }> {
  const folder = join(temporaryFolder(), 'bundle');
  const fillRandom = (bytes: Uint8Array): void => {
    bytes.set(salt);
  };
  const options = { model: MODEL, modelKey, signers: [signer], fillRandom };
  const { manifestDigest } = await sealFolder(source, folder, options);
  return { folder, digest: manifestDigest };
}

describe('sealing and opening', () => {
  let folder: string;
  let digest: string;
  beforeAll(async () => {
    ({ folder, digest } = await seal(writeFolder(files)));
  });

  it('SW-6, SW-17: makes the bytes that the specification says, every file as long as its plaintext', () => {
    const expected = sealBySpecification(specificationInput(files));
    const found = readFolder(folder);
    expect([...found.keys()]).toEqual([...expected.keys()].sort());
    for (const [path, bytes] of expected) {
      expect(Buffer.compare(found.get(path) ?? Buffer.from('missing'), bytes), path).toBe(0);
    }
    for (const [path, plaintext] of files) expect(found.get(path)?.length).toBe(plaintext.length);
  });

  it('SW-6: a second implementation opens what was sealed', () => {
    const opened = openBySpecification(readFolder(folder), MODEL_KEY, publicKey);
    for (const [path, plaintext] of files) {
      expect(Buffer.compare(opened.get(path) ?? Buffer.from('missing'), plaintext), path).toBe(0);
    }
  });

  it('SW-20: verifies without a key, and trusts by signers, by digest or by both (SW-19)', async () => {
    for (const trust of [TRUST, { digest }, { ...TRUST, digest }]) {
      const bundle = await SealedBundle.open(folder, trust);
      expect(bundle.manifest.digest).toBe(digest);
      await bundle.verify();
    }
    expect(await refusalCodeAsync(() => SealedBundle.open(folder, {}))).toBe('sealed-trust-missing');
  });

  it.each([1, 2, 5, 0, Number.NaN])(
    'SW-22: opens all files into memory with %d threads asked for',
    async (threads) => {
      const bundle = await SealedBundle.open(folder, TRUST);
      const reports: number[] = [];
      const onProgress = ({ doneBytes }: { doneBytes: number }): void => {
        reports.push(doneBytes);
      };
      const unsealed = await unseal(bundle, modelKey, { threads, onProgress });
      try {
        expect([...unsealed.files.keys()]).toEqual([...bundle.files.keys()]);
        for (const [path, plaintext] of files) {
          const memory = unsealed.files.get(path);
          expect(Buffer.compare(readFileSync(memory?.path ?? ''), plaintext), path).toBe(0);
        }
        expect(reports.at(-1)).toBe(bundle.totalBytes);
      } finally {
        unsealed.close();
      }
    },
  );

  it('opens one file alone', async () => {
    const bundle = await SealedBundle.open(folder, TRUST);
    const unsealed = await unseal(bundle, modelKey, { paths: ['config.json'] });
    expect([...unsealed.files.keys()]).toEqual(['config.json']);
    expect(Buffer.from(unsealed.files.get('config.json')?.read(0, 3) ?? []).toString()).toBe('{}\n');
    unsealed.close();
    expect(await refusalCodeAsync(() => unseal(bundle, modelKey, { paths: ['nothing'] }))).toBe(
      'sealed-file-unknown',
    );
  });

  describe('random access', () => {
    let unlocked: UnlockedBundle;
    beforeAll(async () => {
      unlocked = (await SealedBundle.open(folder, TRUST)).unlock(modelKey);
    });
    afterAll(() => {
      unlocked.close();
    });

    it('SW-6: a read of any range equals the plaintext', async () => {
      const paths = [...files.keys()];
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...paths),
          fc.double({ min: 0, max: 1, noNaN: true }),
          fc.double({ min: 0, max: 1, noNaN: true }),
          async (path, start, share) => {
            const plaintext = files.get(path)!;
            const offset = Math.floor(start * plaintext.length);
            const length = Math.floor(share * (plaintext.length - offset));
            const found = await unlocked.readAt(path, offset, length);
            expect(Buffer.compare(found, plaintext.subarray(offset, offset + length))).toBe(0);
          },
        ),
        { numRuns: 40 },
      );
    });

    it('a range outside of the file is refused', async () => {
      for (const [offset, length] of [
        [0, 4],
        [4, 0],
        [-1, 1],
        [0.5, 1],
        [0, Number.NaN],
      ] as const) {
        expect(await refusalCodeAsync(() => unlocked.readAt('config.json', offset, length))).toBe(
          'sealed-range',
        );
      }
    });
  });

  it('SW-9: two sealings of the same files under the same key share no ciphertext', async () => {
    const source = writeFolder(new Map([['weights.bin', deterministicBytes(4096, 'twice')]]));
    const one = await seal(
      source,
      Uint8Array.from({ length: 32 }, () => 1),
    );
    const two = await seal(
      source,
      Uint8Array.from({ length: 32 }, () => 2),
    );
    const [left, right] = [one, two].map((sealed) => readFolder(sealed.folder).get('weights.bin')!);
    expect(Buffer.compare(left!, right!)).not.toBe(0);
    expect(one.digest).not.toBe(two.digest);
  });

  it('SW-6: ten thousand small files come back as they were', async () => {
    const many = new Map(
      Array.from({ length: 10_000 }, (_, i) => [
        `part-${i % 100}/file-${i}.bin`,
        deterministicBytes(i % 61, `small ${i}`),
      ]),
    );
    const sealed = await seal(writeFolder(many));
    const bundle = await SealedBundle.open(sealed.folder, { digest: sealed.digest });
    const unsealed = await unseal(bundle, modelKey);
    try {
      expect(unsealed.files.size).toBe(many.size);
      for (const [path, plaintext] of many) {
        const memory = unsealed.files.get(path);
        expect(Buffer.compare(memory?.read(0, memory.bytes) ?? Buffer.from('missing'), plaintext)).toBe(0);
      }
    } finally {
      unsealed.close();
    }
  }, 120_000);
});

describe('the worked example', () => {
  const example = new Map<string, Uint8Array>([
    ['config.json', Buffer.from('{}\n')],
    ['empty', new Uint8Array()],
    ['weights/one.bin', Uint8Array.of(0x2a)],
  ]);

  it('SW-14 to SW-18: the vector is what both implementations make of it', async () => {
    const vector = readFolder(VECTOR);
    const expected = sealBySpecification(specificationInput(example));
    const sealed = await seal(writeFolder(example));
    expect(readFolder(sealed.folder)).toEqual(vector);
    expect([...expected.keys()].sort()).toEqual([...vector.keys()]);
    for (const [path, bytes] of expected) expect(vector.get(path), path).toEqual(new Uint8Array(bytes));
  });

  it('SW-20: the vector verifies and opens', async () => {
    const bundle = await SealedBundle.open(VECTOR, TRUST);
    await bundle.verify();
    const unlocked = bundle.unlock(modelKey);
    for (const [path, plaintext] of example) {
      expect(await unlocked.readAt(path, 0, plaintext.length)).toEqual(new Uint8Array(plaintext));
    }
    unlocked.close();
  });
});

describe('SW-26: a sealer leaves a whole bundle or nothing', () => {
  const source = (): string => writeFolder(new Map([['weights.bin', deterministicBytes(100, 'source')]]));
  const options = () => ({ model: MODEL, modelKey, signers: [signer] });

  async function refusedWithoutTrace(folder: string, target: string, extra = {}): Promise<string> {
    const code = await refusalCodeAsync(() => sealFolder(folder, target, { ...options(), ...extra }));
    const left = existsSync(dirname(target)) ? readdirSync(dirname(target)) : [];
    expect(left.filter((name) => name.startsWith(`${basename(target)}.partial-`))).toEqual([]);
    return code;
  }

  it('refuses a target that is there, inside the source or around it', async () => {
    const folder = source();
    expect(await refusedWithoutTrace(folder, temporaryFolder())).toBe('file-exists');
    expect(await refusedWithoutTrace(folder, join(folder, 'out'))).toBe('sealed-output-inside-source');
    expect(await refusedWithoutTrace(folder, dirname(folder))).toBe('sealed-output-inside-source');
  });

  it('refuses a source that is missing or empty', async () => {
    const target = join(temporaryFolder(), 'bundle');
    expect(await refusedWithoutTrace('/nonexistent', target)).toBe('sealed-not-readable');
    expect(await refusedWithoutTrace(temporaryFolder(), target)).toBe('sealed-source-empty');
  });

  it('SW-4: refuses symbolic links and special files', async () => {
    const folder = source();
    symlinkSync('/etc/passwd', join(folder, 'link'));
    expect(await refusedWithoutTrace(folder, join(temporaryFolder(), 'bundle'))).toBe('sealed-file-kind');
  });

  it('SW-2: refuses names that a bundle keeps for itself', async () => {
    const folder = writeFolder(new Map([['Weightgate.tags', new Uint8Array(1)]]));
    expect(await refusedWithoutTrace(folder, join(temporaryFolder(), 'bundle'))).toBe('sealed-path');
  });

  it('SW-24: refuses weights that their strict reader refuses', async () => {
    const folder = writeFolder(new Map([['model.GGUF', deterministicBytes(64, 'not a model')]]));
    expect(await refusedWithoutTrace(folder, join(temporaryFolder(), 'bundle'))).toBe(
      'weights-header-malformed',
    );
  });

  it('leaves nothing when it is interrupted', async () => {
    const folder = writeFolder(new Map([['weights.bin', deterministicBytes(20 * CHUNK, 'long')]]));
    const abort = new AbortController();
    const onProgress = (): void => {
      abort.abort();
    };
    const target = join(temporaryFolder(), 'bundle');
    const extra = { signal: abort.signal, onProgress };
    const early = { signal: AbortSignal.abort() };
    expect(await refusedWithoutTrace(folder, target, early)).toBe('sealed-interrupted');
    expect(existsSync(target)).toBe(false);
    const code = await refusedWithoutTrace(folder, target, extra);
    expect(existsSync(target)).toBe(code === 'accepted');
  });

  it.each([99, 0, 101])('refuses a source of 100 bytes that has %i when it is sealed', async (bytes) => {
    const folder = source();
    // The salt is asked for after the folder was listed and before anything is sealed.
    const fillRandom = (): void => {
      writeFileSync(join(folder, 'weights.bin'), new Uint8Array(bytes));
    };
    const target = join(temporaryFolder(), 'bundle');
    expect(await refusedWithoutTrace(folder, target, { fillRandom })).toBe('sealed-source-changed');
    expect(existsSync(target)).toBe(false);
  });

  it('leaves nothing when the target cannot be written', async () => {
    expect(await refusedWithoutTrace(source(), '/proc/weightgate/bundle')).toBe('sealed-not-written');
  });

  it('refuses a model without a name', async () => {
    const extra = { model: { ...MODEL, name: '' } };
    expect(await refusedWithoutTrace(source(), join(temporaryFolder(), 'bundle'), extra)).toBe(
      'shape-mismatch',
    );
  });

  it('folders that hold no file are not part of the model', async () => {
    const folder = source();
    mkdirSync(join(folder, 'nothing/inside'), { recursive: true });
    writeFileSync(join(folder, 'more.bin'), 'more');
    const sealed = await seal(folder);
    expect(readdirSync(sealed.folder).sort()).toEqual([
      'more.bin',
      'weightgate.manifest.json',
      'weightgate.tags',
      'weights.bin',
    ]);
  });
});
