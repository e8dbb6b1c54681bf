import {
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import fc from 'fast-check';
import { nativeChunks } from '../../native/chunks/chunks.ts';
import { KeyMemory } from '../../native/memory/key-memory.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { openManifest } from '../../src/sealed/manifest.ts';
import { SealedBundle } from '../../src/sealed/reader.ts';
import { unseal } from '../../src/sealed/unseal.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import {
  deterministicBytes,
  modelKeyMemory,
  privateKey,
  publicKey,
  readFolder,
  signer,
  specificationInput,
  temporaryFolder,
  TRUST,
  writeFolder,
} from './fixtures.ts';
import { sealBySpecification, signPayload, type Tamper } from './second-implementation.ts';

const CHUNK = 4 * 1024 * 1024;
const MANIFEST = 'weightgate.manifest.json';
const TAGS = 'weightgate.tags';

const files = new Map([
  ['config.json', new Uint8Array(Buffer.from('{}\n'))],
  ['weights/a.bin', deterministicBytes(2 * CHUNK + 100, 'a')],
  ['weights/b.bin', deterministicBytes(2 * CHUNK + 100, 'b')],
]);

let modelKey: KeyMemory;
let good: string;
beforeAll(() => {
  modelKey = modelKeyMemory();
  good = writeFolder(sealBySpecification(specificationInput(files)));
});
afterAll(() => {
  modelKey.close();
});

/** A copy of the good bundle with damage done to it. */
function damaged(damage: (folder: string) => void): string {
  const folder = join(temporaryFolder(), 'bundle');
  cpSync(good, folder, { recursive: true });
  damage(folder);
  return folder;
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x01;
  writeFileSync(path, bytes);
}

/** By both ways, which have to agree on what is wrong and where. */
async function openAndUnseal(folder: string): Promise<void> {
  const bundle = await SealedBundle.open(folder, TRUST);
  const errors: unknown[] = [];
  for (const portable of [true, false]) {
    try {
      const unsealed = await unseal(bundle, modelKey, { portable });
      expect(unsealed.way).toBe(portable || nativeChunks() === undefined ? 'portable' : 'native');
      unsealed.close();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length === 0) return;
  // Of several chunks that are wrong each way may meet another one first.
  const places = errors.map(
    (error) => isRefusal(error) && [error.refusal.code, error.refusal.field.split('@')[0]],
  );
  expect(places).toEqual([places[0], places[0]]);
  throw errors[0];
}

async function verifyWithoutKey(folder: string): Promise<void> {
  await (await SealedBundle.open(folder, TRUST)).verify();
}

/** The whole refusal, for tests of what it names. */
async function refusalOf(action: () => Promise<unknown>): Promise<{ code: string; field: string }> {
  try {
    await action();
  } catch (error) {
    if (isRefusal(error)) return error.refusal;
    throw error;
  }
  return { code: 'accepted', field: '' };
}

describe('a flipped bit', () => {
  it('SW-14: of any byte of the manifest is refused', () => {
    const manifest = new Uint8Array(readFileSync(join(good, MANIFEST)));
    for (let at = 0; at < manifest.length; at += 1) {
      const bad = Uint8Array.from(manifest);
      bad[at] = (bad[at] ?? 0) ^ 0x01;
      expect(
        refusalCode(() => openManifest(bad, TRUST)),
        `byte ${at}`,
      ).not.toBe('accepted');
    }
  });

  it('SW-13: of any byte of the tags is refused', async () => {
    const folder = damaged(() => undefined);
    const path = join(folder, TAGS);
    const tags = readFileSync(path);
    for (let at = 0; at < tags.length; at += 1) {
      flip(path, at);
      expect(await refusalCodeAsync(() => SealedBundle.open(folder, TRUST)), `byte ${at}`).toBe(
        'sealed-tags-digest',
      );
      writeFileSync(path, tags);
    }
  });

  it.each([0, 1, CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 99])(
    'SW-8, SW-21: of byte %i of a ciphertext is refused, with the file and the offset of the chunk',
    async (at) => {
      const folder = damaged((bundle) => {
        flip(join(bundle, 'weights/b.bin'), at);
      });
      const offset = Math.floor(at / CHUNK) * CHUNK;
      expect(await refusalOf(() => openAndUnseal(folder))).toMatchObject({
        code: 'sealed-chunk-tag',
        field: `weights/b.bin@${offset}`,
      });
      expect(await refusalOf(() => verifyWithoutKey(folder))).toMatchObject({
        code: 'sealed-file-digest',
        field: 'weights/b.bin',
      });
      const unlocked = (await SealedBundle.open(folder, TRUST)).unlock(modelKey);
      expect(await refusalOf(() => unlocked.readAt('weights/b.bin', at, 1))).toMatchObject({
        code: 'sealed-chunk-tag',
        field: `weights/b.bin@${offset}`,
      });
      unlocked.close();
    },
  );
});

describe('any single bit', () => {
  it('SW-8, SW-13, SW-14: of any file of a bundle is refused when it is flipped', async () => {
    const small = new Map([
      ['a.bin', deterministicBytes(CHUNK + 5, 'a')],
      ['b.bin', deterministicBytes(300, 'b')],
    ]);
    const folder = writeFolder(sealBySpecification(specificationInput(small)));
    const paths = ['a.bin', 'b.bin', TAGS, MANIFEST];
    const place = fc.record({
      path: fc.constantFrom(...paths),
      part: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      bit: fc.nat(7),
    });
    await fc.assert(
      fc.asyncProperty(place, async ({ path, part, bit }) => {
        const bytes = readFileSync(join(folder, path));
        const at = Math.floor(part * bytes.length);
        const original = bytes[at] ?? 0;
        bytes[at] = original ^ (1 << bit);
        writeFileSync(join(folder, path), bytes);
        const code = await refusalCodeAsync(() => openAndUnseal(folder));
        bytes[at] = original;
        writeFileSync(join(folder, path), bytes);
        expect(code, `${path} byte ${at} bit ${bit}`).not.toBe('accepted');
      }),
      { numRuns: 60 },
    );
    await openAndUnseal(folder);
  }, 120_000);
});

describe('parts that are exchanged', () => {
  it('SW-7: two chunks of a file', async () => {
    const folder = damaged((bundle) => {
      const path = join(bundle, 'weights/a.bin');
      const bytes = readFileSync(path);
      const exchanged = Buffer.concat([
        bytes.subarray(CHUNK, 2 * CHUNK),
        bytes.subarray(0, CHUNK),
        bytes.subarray(2 * CHUNK),
      ]);
      writeFileSync(path, exchanged);
    });
    expect(await refusalCodeAsync(() => openAndUnseal(folder))).toBe('sealed-chunk-tag');
  });

  it('SW-7: two chunks of a file with their tags, in a manifest that the owner signed', async () => {
    const sealed = sealBySpecification(specificationInput(files), undefined, (tags) => {
      const [one, two] = [144, 160].map((at) => Buffer.from(tags.subarray(at, at + 16)));
      tags.set(two!, 144);
      tags.set(one!, 160);
      return tags;
    });
    const bytes = Buffer.from(sealed.get('weights/a.bin')!);
    sealed.set(
      'weights/a.bin',
      Buffer.concat([bytes.subarray(CHUNK, 2 * CHUNK), bytes.subarray(0, CHUNK), bytes.subarray(2 * CHUNK)]),
    );
    expect(await refusalCodeAsync(() => openAndUnseal(writeFolder(sealed)))).toBe('sealed-chunk-tag');
  });

  it('SW-11: two files of the same size', async () => {
    const folder = damaged((bundle) => {
      renameSync(join(bundle, 'weights/a.bin'), join(bundle, 'weights/c.bin'));
      renameSync(join(bundle, 'weights/b.bin'), join(bundle, 'weights/a.bin'));
      renameSync(join(bundle, 'weights/c.bin'), join(bundle, 'weights/b.bin'));
    });
    expect(await refusalCodeAsync(() => openAndUnseal(folder))).toBe('sealed-chunk-tag');
    expect(await refusalCodeAsync(() => verifyWithoutKey(folder))).toBe('sealed-file-digest');
  });

  it('SW-13: files of two sealings of one model under one key', async () => {
    const input = { ...specificationInput(files), salt: new Uint8Array(32).fill(9) };
    const other = sealBySpecification(input);
    const chunks = damaged((bundle) => {
      writeFileSync(join(bundle, 'weights/a.bin'), other.get('weights/a.bin')!);
    });
    expect(await refusalCodeAsync(() => openAndUnseal(chunks))).toBe('sealed-chunk-tag');
    const tags = damaged((bundle) => {
      writeFileSync(join(bundle, TAGS), other.get(TAGS)!);
    });
    expect(await refusalCodeAsync(() => openAndUnseal(tags))).toBe('sealed-tags-digest');
  });

  it('SW-19: a whole other bundle, when the digest is known', async () => {
    const { digest } = openManifest(readFileSync(join(good, MANIFEST)), TRUST);
    const input = { ...specificationInput(files), salt: new Uint8Array(32).fill(9) };
    const other = writeFolder(sealBySpecification(input));
    expect(await refusalCodeAsync(() => SealedBundle.open(other, { ...TRUST, digest }))).toBe(
      'sealed-manifest-digest',
    );
  });
});

describe('files that are cut, added or gone', () => {
  it.each([0, 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 99])('SW-5: a ciphertext of %i bytes', async (length) => {
    const folder = damaged((bundle) => {
      truncateSync(join(bundle, 'weights/a.bin'), length);
    });
    expect(await refusalOf(() => SealedBundle.open(folder, TRUST))).toMatchObject({
      code: 'sealed-file-size',
      field: 'weights/a.bin',
    });
  });

  it('SW-5: a ciphertext that is cut after the bundle was opened', async () => {
    const folder = damaged(() => undefined);
    const bundle = await SealedBundle.open(folder, TRUST);
    truncateSync(join(folder, 'weights/a.bin'), CHUNK);
    expect(await refusalCodeAsync(() => unseal(bundle, modelKey))).toBe('sealed-file-size');
    expect(await refusalCodeAsync(() => bundle.verify())).toBe('sealed-file-size');
    rmSync(join(folder, 'weights/a.bin'));
    expect(await refusalCodeAsync(() => unseal(bundle, modelKey))).toBe('sealed-file-missing');
  });

  const damages: readonly [string, string, (folder: string) => void][] = [
    [
      'a longer ciphertext',
      'sealed-file-size',
      (b) => {
        writeFileSync(join(b, 'config.json'), 'four');
      },
    ],
    [
      'a missing file',
      'sealed-file-missing',
      (b) => {
        rmSync(join(b, 'config.json'));
      },
    ],
    [
      'an extra file',
      'sealed-file-extra',
      (b) => {
        writeFileSync(join(b, 'weights/evil.py'), '');
      },
    ],
    [
      'a file that became a folder',
      'sealed-file-kind',
      (b) => {
        rmSync(join(b, 'config.json'));
        mkdirSync(join(b, 'config.json'));
      },
    ],
    [
      'a symbolic link',
      'sealed-file-kind',
      (b) => {
        rmSync(join(b, 'config.json'));
        symlinkSync('/etc/passwd', join(b, 'config.json'));
      },
    ],
    [
      'a folder that is a symbolic link',
      'sealed-file-kind',
      (b) => {
        renameSync(join(b, 'weights'), `${b}-weights`);
        symlinkSync(`${b}-weights`, join(b, 'weights'));
      },
    ],
    [
      'no manifest',
      'file-not-found',
      (b) => {
        rmSync(join(b, MANIFEST));
      },
    ],
    [
      'an empty manifest',
      'json-malformed',
      (b) => {
        truncateSync(join(b, MANIFEST), 0);
      },
    ],
    [
      'no tags',
      'sealed-file-missing',
      (b) => {
        rmSync(join(b, TAGS));
      },
    ],
    [
      'tags cut inside the header',
      'sealed-tags-length',
      (b) => {
        truncateSync(join(b, TAGS), 100);
      },
    ],
    [
      'tags cut by one tag',
      'sealed-tags-length',
      (b) => {
        truncateSync(join(b, TAGS), 128 + 6 * 16);
      },
    ],
    [
      'tags with bytes after them',
      'sealed-tags-length',
      (b) => {
        writeFileSync(join(b, TAGS), 'x', { flag: 'a' });
      },
    ],
  ];
  it.each(damages)('SW-1, SW-4, SW-13: %s is %s', async (_name, code, damage) => {
    const folder = damaged(damage);
    expect(await refusalCodeAsync(() => SealedBundle.open(folder, TRUST))).toBe(code);
  });
});

describe('keys and signers', () => {
  it('SW-10: another model key is refused before anything is decrypted', async () => {
    const bundle = await SealedBundle.open(good, TRUST);
    const other = KeyMemory.take(new Uint8Array(32).fill(1));
    const short = KeyMemory.take(new Uint8Array(16));
    expect(await refusalCodeAsync(() => unseal(bundle, other))).toBe('sealed-key-wrong');
    expect(await refusalCodeAsync(() => unseal(bundle, short))).toBe('sealed-key-length');
    other.close();
    short.close();
  });

  it('SW-14: another signer, and a signature that names another key', () => {
    const manifest = readFileSync(join(good, MANIFEST));
    const stranger = generateKeyPairSync('ed25519')
      .publicKey.export({ format: 'der', type: 'spki' })
      .subarray(-32);
    const trust = { signers: { publicKeys: [Uint8Array.from(stranger)], threshold: 1 } };
    expect(refusalCode(() => openManifest(manifest, trust))).toBe('dsse-threshold');
    const renamed = Buffer.from(manifest.toString().replace(/"keyid":"0/, '"keyid":"1'));
    expect(refusalCode(() => openManifest(renamed, TRUST))).toBe('dsse-threshold');
    const two = { signers: { publicKeys: [signer.publicKey, Uint8Array.from(stranger)], threshold: 2 } };
    expect(refusalCode(() => openManifest(manifest, two))).toBe('dsse-threshold');
  });
});

describe('manifests that the owner signed and that are wrong', () => {
  const tampers: readonly [string, string, Tamper][] = [
    [
      'petabytes',
      'sealed-limit',
      ({ predicate }) => {
        predicate.files[1]!.bytes = '9007199254740993';
      },
    ],
    [
      'a wrong number of chunks',
      'sealed-manifest-inconsistent',
      ({ predicate }) => {
        predicate.files[1]!.chunks = 4;
      },
    ],
    [
      'sizes with a leading zero',
      'shape-mismatch',
      ({ predicate }) => {
        predicate.files[1]!.bytes = '01';
      },
    ],
    [
      'a negative size',
      'shape-mismatch',
      ({ predicate }) => {
        predicate.files[1]!.bytes = '-1';
      },
    ],
    [
      'no files',
      'shape-mismatch',
      (s) => {
        s.predicate.files = [];
      },
    ],
    [
      'a subject more than files',
      'sealed-manifest-inconsistent',
      (s) => {
        s.subject.push({ ...s.subject[0]! });
      },
    ],
    [
      'subjects of other names',
      'sealed-manifest-inconsistent',
      (s) => {
        s.subject.reverse();
      },
    ],
    [
      'another order',
      'sealed-manifest-inconsistent',
      (s) => {
        s.subject.reverse();
        s.predicate.files.reverse();
      },
    ],
    [
      'another algorithm',
      'shape-mismatch',
      ({ predicate }) => {
        predicate.aead = 'aes-128-gcm';
      },
    ],
    [
      'another chunk size',
      'shape-mismatch',
      ({ predicate }) => {
        predicate.chunkBytes = 1024;
      },
    ],
    [
      'a newer version',
      'shape-mismatch',
      ({ predicate }) => {
        predicate.formatVersion = 2;
      },
    ],
    [
      'another predicate type',
      'shape-mismatch',
      (s) => {
        s.predicateType = 'https://example.org/v1';
      },
    ],
    [
      'a short salt',
      'shape-mismatch',
      ({ predicate }) => {
        predicate.salt = 'AAAA';
      },
    ],
    [
      'a salt of 33 bytes',
      'sealed-manifest-inconsistent',
      ({ predicate }) => {
        predicate.salt = `${'A'.repeat(43)}A`;
      },
    ],
    [
      'another path of the tags',
      'shape-mismatch',
      ({ predicate }) => {
        predicate.tags.path = '../tags';
      },
    ],
    [
      'an unknown member',
      'shape-mismatch',
      ({ predicate }) => {
        Object.assign(predicate, { extra: 1 });
      },
    ],
  ];
  it.each(tampers)('SW-5, SW-14, SW-16, SW-17: %s is %s', (_name, code, tamper) => {
    const bundle = sealBySpecification(specificationInput(files), tamper);
    expect(refusalCode(() => openManifest(bundle.get(MANIFEST)!, TRUST))).toBe(code);
  });

  const paths: readonly [string, string][] = [
    ['/etc/passwd', 'sealed-path'],
    ['../up', 'sealed-path'],
    ['a/../b', 'sealed-path'],
    ['./a', 'sealed-path'],
    ['a//b', 'sealed-path'],
    ['a/', 'sealed-path'],
    ['', 'shape-mismatch'],
    ['a\\b', 'sealed-path'],
    ['a\u0000b', 'sealed-path'],
    ['a\u0085b', 'sealed-path'],
    ['C:a', 'sealed-path'],
    ['a.', 'sealed-path'],
    ['a /b', 'sealed-path'],
    ['e\u0301', 'sealed-path'],
    ['x'.repeat(1025), 'sealed-path'],
    ['weightgate.tags', 'sealed-path'],
    ['WEIGHTGATE.other/x', 'sealed-path'],
    ['A.bin', 'sealed-path-conflict'],
    ['a.bin/inside', 'sealed-path-conflict'],
    ['A.BIN/inside', 'sealed-path-conflict'],
  ];
  it.each(paths)('SW-2, SW-3: the path %j is %s', (path, code) => {
    const hostile = new Map([
      ['a.bin', new Uint8Array(1)],
      [path, new Uint8Array(1)],
    ]);
    const bundle = sealBySpecification(specificationInput(hostile));
    expect(refusalCode(() => openManifest(bundle.get(MANIFEST)!, TRUST))).toBe(code);
  });

  it('SW-5: too many files', () => {
    const statement = JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      predicate: {
        aead: 'aes-256-gcm',
        chunkBytes: CHUNK,
        files: Array.from({ length: 65_537 }, (_, i) => ({
          bytes: '0',
          chunks: 1,
          path: String(i).padStart(6, '0'),
        })),
        formatVersion: 1,
        keyCommitment: Buffer.alloc(32).toString('base64'),
        model: { name: 'm', variant: 'v', version: '1' },
        salt: Buffer.alloc(32).toString('base64'),
        tags: { path: TAGS, sha256: '0'.repeat(64) },
      },
      predicateType: 'https://weightgate.dev/predicate/sealed-bundle/v1',
      subject: [{ digest: { sha256: '0'.repeat(64) }, name: '000000' }],
    });
    const manifest = signPayload(Buffer.from(statement), privateKey, publicKey);
    expect(refusalCode(() => openManifest(manifest, TRUST))).toBe('sealed-limit');
  });

  const headers: readonly [string, string, (tags: Buffer) => void][] = [
    [
      'magic',
      'layout-value',
      (tags) => {
        tags.write('X');
      },
    ],
    [
      'version',
      'layout-value',
      (tags) => {
        tags.writeUInt32BE(2, 16);
      },
    ],
    [
      'aead',
      'layout-value',
      (tags) => {
        tags.writeUInt32BE(2, 20);
      },
    ],
    [
      'chunkBytes',
      'layout-value',
      (tags) => {
        tags.writeUInt32BE(1, 24);
      },
    ],
    [
      'fileCount',
      'sealed-tags-disagree',
      (tags) => {
        tags.writeUInt32BE(4, 28);
      },
    ],
    [
      'tagCount',
      'sealed-tags-disagree',
      (tags) => {
        tags.writeBigUInt64BE(2n ** 60n, 32);
      },
    ],
    [
      'salt',
      'sealed-tags-disagree',
      (tags) => {
        tags.writeUInt8(99, 40);
      },
    ],
    [
      'keyCommitment',
      'sealed-tags-disagree',
      (tags) => {
        tags.writeUInt8(99, 72);
      },
    ],
    [
      'unused',
      'layout-reserved',
      (tags) => {
        tags.writeUInt8(1, 104);
      },
    ],
  ];
  it.each(headers)('SW-13: another %s in the header of the tags is %s', async (member, code, tamper) => {
    const sealed = sealBySpecification(specificationInput(files), undefined, (tags) => {
      tamper(tags);
      return tags;
    });
    const refusal = await refusalOf(() => SealedBundle.open(writeFolder(sealed), TRUST));
    expect(refusal).toMatchObject({ code, field: `${TAGS}.${member}` });
  });
});

describe('what a failed opening leaves', () => {
  it('SW-22: nothing: no memory file, no locked memory', async () => {
    const folder = damaged((bundle) => {
      flip(join(bundle, 'weights/b.bin'), 2 * CHUNK);
    });
    const before = locked();
    expect(await refusalCodeAsync(() => openAndUnseal(folder))).toBe('sealed-chunk-tag');
    expect(locked()).toBe(before);
    expect(readFileSync('/proc/self/maps', 'latin1')).not.toMatch(PLAINTEXT);
  });

  it('SW-22: an interrupted opening hands out nothing', async () => {
    const bundle = await SealedBundle.open(good, TRUST);
    expect(await refusalCodeAsync(() => unseal(bundle, modelKey, { signal: AbortSignal.abort() }))).toBe(
      'sealed-interrupted',
    );
    expect(readFileSync('/proc/self/maps', 'latin1')).not.toMatch(PLAINTEXT);
  });

  it('the good bundle was good all along', async () => {
    await verifyWithoutKey(good);
    await openAndUnseal(good);
    const digests = [...readFolder(good)].map(([, bytes]) =>
      createHash('sha256').update(bytes).digest('hex'),
    );
    expect(new Set(digests).size).toBe(5);
  });
});

/** How the kernel names memory for weights. */
const PLAINTEXT = /memfd:weights|\/memory-\d+ \(deleted\)/;

function locked(): string | undefined {
  return /VmLck:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
}
