import { generateKeyPairSync, verify, type KeyObject } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { openModelSigningKey } from '../../src/keys/model-signing-key.ts';
import { readEcdsaPublicKey } from '../../src/platform/ecdsa.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const PASSPHRASE = 'only for a test';
const ENCRYPTED = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: PASSPHRASE } as const;

async function file(content: string | Buffer, mode = 0o600): Promise<string> {
  const path = join(await temporaryFolder(), 'key.pem');
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function publicPem(key: KeyObject): Buffer {
  return Buffer.from(key.export({ type: 'spki', format: 'pem' }));
}

const code = (path: Promise<string> | string, passphrase = PASSPHRASE): Promise<string> =>
  refusalCodeAsync(async () => openModelSigningKey(await path, passphrase));

describe('a key for model signatures', () => {
  it.each([
    ['prime256v1', 'sha256'],
    ['secp384r1', 'sha384'],
    ['secp521r1', 'sha512'],
  ])('SW-63: on %s signs with %s', async (namedCurve, hash) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
    const signer = await openModelSigningKey(await file(privateKey.export(ENCRYPTED)), PASSPHRASE);
    const message = Buffer.from('message');
    expect(verify(hash, message, publicKey, await signer.sign(message))).toBe(true);
    expect(signer.publicKey).toEqual(readEcdsaPublicKey(publicPem(publicKey), 'key'));
  });

  it('SW-63: is refused without its passphrase, in the clear, or where others can read it', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    expect(await code(file(privateKey.export(ENCRYPTED)), 'another')).toBe('key-passphrase-wrong');
    expect(await code(file(privateKey.export(ENCRYPTED), 0o640))).toBe('key-file-exposed');
    expect(await code(file(privateKey.export({ type: 'pkcs8', format: 'pem' })))).toBe('pem-malformed');
    expect(await code(file(privateKey.export({ type: 'sec1', format: 'pem' })))).toBe('pem-malformed');
    expect(await code('/nowhere/at/all')).toBe('file-not-found');
  });

  it('SW-63: of another algorithm or curve is refused', async () => {
    const ed25519 = generateKeyPairSync('ed25519').privateKey;
    expect(await code(file(ed25519.export(ENCRYPTED)))).toBe('ecdsa-key-unsupported');
    const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    expect(await code(file(koblitz.privateKey.export(ENCRYPTED)))).toBe('public-key-unsupported');
    expect(refusalCode(() => readEcdsaPublicKey(publicPem(koblitz.publicKey), 'key'))).toBe(
      'public-key-unsupported',
    );
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
    expect(refusalCode(() => readEcdsaPublicKey(publicPem(rsa), 'key'))).toBe('ecdsa-key-unsupported');
  });
});
