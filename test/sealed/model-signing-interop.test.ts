/**
 * SW-60 to SW-66 against the tool of OpenSSF Model Signing itself, installed for this test from PyPI. Where it is not to
 * be had, the tests are skipped and say why.
 */

import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { openModelSigningKey } from '../../src/keys/model-signing-key.ts';
import { readEcdsaPublicKey } from '../../src/platform/ecdsa.ts';
import { checkModelSignature, exportModelSignature } from '../../src/sealed/model-signing.ts';
import { SealedBundle } from '../../src/sealed/reader.ts';
import { sealFolder } from '../../src/sealed/writer.ts';
import { installPythonPackages, type PythonPackages } from '../support/python-packages.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import {
  deterministicBytes,
  MODEL,
  modelKeyMemory,
  signer,
  temporaryFolder,
  TRUST,
  writeFolder,
} from './fixtures.ts';

const PACKAGES = ['model-signing==1.1.1', 'pyopenssl==26.4.0'];
const PASSPHRASE = 'only for a test';
const TIMEOUT = { timeout: 120_000 };

let tool: PythonPackages;
let place: string;
let folder: string;

beforeAll(async () => {
  tool = await installPythonPackages(temporaryFolder(), PACKAGES);
  place = temporaryFolder();
  folder = join(place, 'bundle');
  const files = new Map<string, Uint8Array>([
    ['.gitattributes', Buffer.from('*.bin')],
    ['a/b.bin', deterministicBytes(100, 'b')],
    ['a.bin', deterministicBytes(5_000_000, 'a')],
    ['a-b/c.bin', deterministicBytes(10, 'c')],
    ['größe.bin', deterministicBytes(10, 'd')],
    ['empty', Buffer.alloc(0)],
  ]);
  const modelKey = modelKeyMemory();
  await sealFolder(writeFolder(files), folder, { model: MODEL, modelKey, signers: [signer] });
  modelKey.close();
}, 400_000);

interface KeyFiles {
  readonly encrypted: string;
  readonly open: string;
  readonly publicKey: string;
}

function makeKey(namedCurve: string): KeyFiles {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
  const write = (name: string, content: string | Buffer): string => {
    const path = join(place, `${namedCurve}.${name}`);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const pkcs8 = { type: 'pkcs8', format: 'pem' } as const;
  const encryption = { ...pkcs8, cipher: 'aes-256-cbc', passphrase: PASSPHRASE };
  return {
    encrypted: write('key', privateKey.export(encryption)),
    open: write('open', privateKey.export(pkcs8)),
    publicKey: write('pub', publicKey.export({ type: 'spki', format: 'pem' })),
  };
}

async function verify(
  signature: string,
  { publicKey }: KeyFiles,
): Promise<{ exitCode: number; text: string }> {
  const files = ['--signature', signature, '--public_key', publicKey];
  return await tool.python('-m', 'model_signing', 'verify', 'key', folder, ...files);
}

describe('model_signing', () => {
  it.for(['prime256v1', 'secp384r1', 'secp521r1'])(
    'SW-60 to SW-63: takes what is exported with a key on %s, and refuses it after one byte has changed',
    TIMEOUT,
    async (curve, context) => {
      if (tool.missing !== undefined) context.skip(tool.missing);
      const key = makeKey(curve);
      const exported = await exportModelSignature(
        await SealedBundle.open(folder, TRUST),
        await openModelSigningKey(key.encrypted, PASSPHRASE),
      );
      const signature = join(place, `${curve}.sig`);
      writeFileSync(signature, exported);
      expect(await verify(signature, key)).toMatchObject({ exitCode: 0 });
      for (const path of ['a.bin', 'weightgate.manifest.json', 'weightgate.tags']) {
        const sound = readFileSync(join(folder, path));
        const damaged = Buffer.from(sound);
        damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
        writeFileSync(join(folder, path), damaged);
        const { exitCode, text } = await verify(signature, key);
        writeFileSync(join(folder, path), sound);
        expect(exitCode).toBe(1);
        expect(text.replaceAll('\\', '')).toContain(`Hash mismatch for '${path}'`);
      }
    },
  );

  it('SW-65: what it signs itself is verified here', TIMEOUT, async (context) => {
    if (tool.missing !== undefined) context.skip(tool.missing);
    const key = makeKey('prime256v1');
    const signature = join(place, 'theirs.sig');
    const signing = ['sign', 'key', folder, '--private_key', key.open, '--signature', signature];
    expect(await tool.python('-m', 'model_signing', ...signing)).toMatchObject({ exitCode: 0 });
    const publicKey = readEcdsaPublicKey(readFileSync(key.publicKey), 'key');
    const bundle = await SealedBundle.open(folder, TRUST);
    const { resources } = await checkModelSignature(bundle, readFileSync(signature), publicKey);
    expect(resources).toHaveLength(7);
    const withGit = [...signing, '--no-ignore-git-paths'];
    expect(await tool.python('-m', 'model_signing', ...withGit)).toMatchObject({ exitCode: 0 });
    const all = await checkModelSignature(bundle, readFileSync(signature), publicKey);
    expect(all.resources).toHaveLength(8);
    const other = readEcdsaPublicKey(readFileSync(makeKey('secp384r1').publicKey), 'key');
    const refused = checkModelSignature(bundle, readFileSync(signature), other);
    expect(await refusalCodeAsync(() => refused)).toBe('model-signature-key');
  });
});
