import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { createSigningKey, openSigningKey, readSigningKeyIdentity } from '../../src/keys/signing-key.ts';
import { verifyEd25519 } from '../../src/platform/ed25519.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const passphrase = 'battery staple';

async function newKey(name = 'anna') {
  const path = join(await temporaryFolder(), 'anna.key');
  return { path, ...(await createSigningKey({ path, name, passphrase })) };
}

describe('signing key', () => {
  it('signs by the public key that anybody can read without the passphrase (KC-8)', async () => {
    const { path, publicKey } = await newKey();
    expect(await readSigningKeyIdentity(path)).toEqual({ name: 'anna', publicKey });
    const signer = await openSigningKey(path, passphrase);
    const message = toUtf8('a statement');
    expect(verifyEd25519(publicKey, message, await signer.sign(message))).toBe(true);
    expect(signer.name).toBe('anna');
  });

  it('holds no secret in the open and is for its owner alone (KC-1)', async () => {
    const { path } = await newKey();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await chmod(path, 0o640);
    expect(await refusalCodeAsync(() => openSigningKey(path, passphrase))).toBe('key-file-exposed');
  });

  it('does not open by another passphrase, nor under another name or public key (KC-4, KC-8)', async () => {
    const { path } = await newKey();
    expect(await refusalCodeAsync(() => openSigningKey(path, 'another'))).toBe('key-passphrase-wrong');
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('"name":"anna"', '"name":"bert"'));
    expect(await refusalCodeAsync(() => openSigningKey(path, passphrase))).toBe('key-file-damaged');
    const other = await newKey();
    const publicKeyOf = (document: string) => /"publicKey":"([^"]*)"/.exec(document)![1]!;
    const otherText = await readFile(other.path, 'utf8');
    await writeFile(path, text.replace(publicKeyOf(text), publicKeyOf(otherText)));
    expect(await refusalCodeAsync(() => openSigningKey(path, passphrase))).toBe('key-file-damaged');
  });

  it('is refused under a name that is no identifier (GV-1)', async () => {
    expect(await refusalCodeAsync(() => newKey('anna maria'))).toBe('shape-mismatch');
  });
});
