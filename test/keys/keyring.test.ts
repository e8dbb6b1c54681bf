import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { decodeCanonicalJson, encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { createKeyring, openKeyring, type KeyringOptions } from '../../src/keys/keyring.ts';
import { verifyEd25519 } from '../../src/platform/ed25519.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

interface EditableKeyring {
  mode: string;
  origin: string;
  stretching: { operations: number; memoryBytes: number };
  secrets: { name: string; nonce: string; ciphertext: string }[];
}

async function newKeyring(mode: 'evaluation' | 'production' = 'evaluation'): Promise<KeyringOptions> {
  const options: KeyringOptions = {
    path: join(await temporaryFolder(), 'keyring.json'),
    mode,
    origin: mode === 'evaluation' ? 'example.org/evaluation' : 'example.org',
    passphrase: 'correct horse',
  };
  await createKeyring(options);
  return options;
}

async function edit(path: string, change: (keyring: EditableKeyring) => void): Promise<void> {
  const limits = { maxBytes: 65536 };
  const document = decodeCanonicalJson(await readFile(path), limits, 'keyring') as unknown as EditableKeyring;
  change(document);
  await writeFile(path, encodeCanonicalJson(document as never));
}

function opening(options: KeyringOptions): Promise<string> {
  return refusalCodeAsync(() => openKeyring(options));
}

describe('keyring', () => {
  it('gives the same log key each time (KC-7)', async () => {
    const options = await newKeyring();
    const first = await openKeyring(options);
    const second = await openKeyring(options);
    const message = toUtf8('a checkpoint');
    const signature = await first.logSigner.sign(message);
    expect(verifyEd25519(second.logSigner.publicKey, message, signature)).toBe(true);
  });

  it('is written for its owner alone, whole, and never over another file (KC-1)', async () => {
    const options = await newKeyring();
    expect((await stat(options.path)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(options.path, '..'))).toEqual(['keyring.json']);
    expect(await refusalCodeAsync(() => createKeyring(options))).toBe('file-exists');
    await chmod(options.path, 0o644);
    expect(await opening(options)).toBe('key-file-exposed');
  });

  it('tells a wrong passphrase from a damaged file (KC-4)', async () => {
    const options = await newKeyring();
    expect(await opening({ ...options, passphrase: 'correct house' })).toBe('key-passphrase-wrong');
    expect(await opening({ ...options, passphrase: '' })).toBe('key-passphrase-empty');
    await edit(options.path, ({ secrets }) => {
      const [box] = secrets;
      box!.ciphertext = `${box!.ciphertext.startsWith('A') ? 'B' : 'A'}${box!.ciphertext.slice(1)}`;
    });
    expect(await opening(options)).toBe('key-file-damaged');
  });

  it('takes a passphrase in either Unicode form (KC-2)', async () => {
    const options = { ...(await newKeyring()), passphrase: 'h\u00e9' };
    const path = `${options.path}.other`;
    await createKeyring({ ...options, path });
    expect(await opening({ ...options, path, passphrase: 'he\u0301' })).toBe('accepted');
  });

  it('belongs to one origin and one mode, also after editing (KC-6)', async () => {
    const options = await newKeyring();
    const elsewhere = { ...options, origin: 'elsewhere.example/evaluation' };
    expect(await opening(elsewhere)).toBe('keyring-other-server');
    expect(await opening({ ...options, mode: 'production' })).toBe('keyring-other-server');
    await edit(options.path, (keyring) => {
      keyring.origin = elsewhere.origin;
    });
    expect(await opening(elsewhere)).toBe('key-file-damaged');
    await edit(options.path, (keyring) => {
      keyring.origin = options.origin;
      keyring.mode = 'production';
    });
    expect(await opening({ ...options, mode: 'production' })).toBe('key-file-damaged');
  });

  it('holds no wrapping key, in either mode (KC-7)', async () => {
    for (const mode of ['evaluation', 'production'] as const) {
      const options = await newKeyring(mode);
      await edit(options.path, ({ secrets }) => {
        expect(secrets.map(({ name }) => name)).toEqual(['log-signing-key']);
      });
    }
  });

  it('is refused before stretching when the cost is out of bounds (KC-2)', async () => {
    const options = await newKeyring();
    for (const [operations, memoryBytes] of [
      [1, 2 ** 26],
      [17, 2 ** 26],
      [3, 2 ** 25],
      [3, 2 ** 31],
      [3, 2 ** 26 + 1],
    ] as const) {
      await edit(options.path, ({ stretching }) => Object.assign(stretching, { operations, memoryBytes }));
      expect(await opening(options)).toBe('shape-mismatch');
    }
  });

  it('refuses any other bytes, and only by refusals', async () => {
    const options = await newKeyring();
    const good = await readFile(options.path);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Uint8Array.from(good);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        await writeFile(options.path, bytes);
        expect(await opening(options)).not.toBe('accepted');
      }),
      { numRuns: 12 },
    );
  });
});
