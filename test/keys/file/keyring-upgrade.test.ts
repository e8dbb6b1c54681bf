import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { decodeCanonicalJson, encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import type { ModelKeyContext } from '../../../src/keys/custody.ts';
import { openFileCustody, type FileCustodyOptions } from '../../../src/keys/file/file-custody.ts';
import { moveFormerWrappingKey } from '../../../src/keys/file/keyring-upgrade.ts';
import { UNNAMED_WRAPPING_KEY } from '../../../src/keys/file/wrapped-key.ts';
import { createKeyring, openKeyring } from '../../../src/keys/keyring.ts';
import { encrypt, sealBox, stretchingSchema, withStretchedKey } from '../../../src/keys/secret-box.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const origin = 'example.org/evaluation';
const identity = { mode: 'evaluation', origin, passphrase: 'correct horse' } as const;
const context: ModelKeyContext = { manifestDigest: 'ab'.repeat(32), origin, mode: 'evaluation' };
const formerKey = new Uint8Array(32).fill(3);

/** A home of before: the key-encryption key is a secret of the keyring. */
async function formerHome(): Promise<{ keyring: string; options: FileCustodyOptions }> {
  const folder = await temporaryFolder();
  const keyring = join(folder, 'keyring.json');
  await createKeyring({ path: keyring, ...identity });
  const document = decodeCanonicalJson(await readFile(keyring), { maxBytes: 65536 }, 'keyring') as {
    stretching: unknown;
    secrets: { name: string; nonce: string; ciphertext: string }[];
  };
  const name = 'key-encryption-key';
  const stretching = stretchingSchema.parse(document.stretching);
  const box = await withStretchedKey(identity.passphrase, stretching, (key) =>
    sealBox(key, formerKey, { mode: identity.mode, origin, name }),
  );
  document.secrets.push({ name, ...box });
  await writeFile(keyring, encodeCanonicalJson(document as never));
  return { keyring, options: { path: join(folder, 'wrapping-keys.json'), ...identity } };
}

/** As it was written before there were names: version, nonce, ciphertext (KC-10). */
function formerlyWrapped(modelKey: Uint8Array): Uint8Array {
  const nonce = new Uint8Array(24).fill(5);
  const bound = {
    purpose: 'weightgate/model-key/v1',
    manifestDigest: context.manifestDigest,
    origin,
    mode: context.mode,
  };
  return Uint8Array.from([1, ...nonce, ...encrypt(formerKey, nonce, modelKey, bound)]);
}

async function unwrapped(options: FileCustodyOptions): Promise<Uint8Array> {
  const custody = await openFileCustody(options);
  try {
    return await custody.unwrap(formerlyWrapped(new Uint8Array(32).fill(9)), context);
  } finally {
    await custody.close();
  }
}

describe('keyring of a former home', () => {
  it('gives its wrapping key to a file of its own, once, and keys go on to open (KC-10, KC-22)', async () => {
    const { keyring, options } = await formerHome();
    const { logSigner } = await openKeyring({ ...identity, path: keyring });
    await moveFormerWrappingKey(keyring, options);
    expect(await unwrapped(options)).toEqual(new Uint8Array(32).fill(9));
    expect(await readFile(keyring, 'utf8')).not.toContain('key-encryption-key');
    expect((await openKeyring({ ...identity, path: keyring })).logSigner.publicKey).toEqual(
      logSigner.publicKey,
    );
    const after = await readFile(options.path);
    await moveFormerWrappingKey(keyring, options);
    expect(await readFile(options.path)).toEqual(after);
  });

  it('goes on where it was interrupted between the two files (KC-22)', async () => {
    const { keyring, options } = await formerHome();
    await copyFile(keyring, `${keyring}.before`);
    await moveFormerWrappingKey(keyring, options);
    await copyFile(`${keyring}.before`, keyring);
    await moveFormerWrappingKey(keyring, options);
    expect(await unwrapped(options)).toEqual(new Uint8Array(32).fill(9));
    expect(await readFile(keyring, 'utf8')).not.toContain('key-encryption-key');
  });

  it('keeps its wrapping key while the file holds another (KC-22)', async () => {
    const { keyring, options } = await formerHome();
    await copyFile(keyring, `${keyring}.before`);
    await moveFormerWrappingKey(keyring, options);
    const custody = await openFileCustody(options);
    await custody.rotate();
    await custody.retire(new Set());
    expect(await custody.wrappingKeys()).not.toMatchObject({ current: UNNAMED_WRAPPING_KEY });
    await custody.close();
    await copyFile(`${keyring}.before`, keyring);
    await moveFormerWrappingKey(keyring, options);
    expect(await readFile(keyring, 'utf8')).toContain('key-encryption-key');
    await rm(options.path);
    await moveFormerWrappingKey(keyring, options);
    expect(await unwrapped(options)).toEqual(new Uint8Array(32).fill(9));
  });
});
