import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { describe, expect, it } from 'vitest';

import type { KeyCustody } from '../../src/keys/custody.ts';
import { openModelKeyStore, type ModelKeyStore } from '../../src/keys/model-key-store.ts';
import { newFileCustody } from '../support/file-custody.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const manifestDigest = 'ab'.repeat(32);
const identity = { origin: 'example.org/evaluation', mode: 'evaluation' } as const;

function oneCustody(custody: KeyCustody) {
  const current = { number: 1, provider: 'file', settings: {}, custody } as const;
  return { current, byNumber: () => Promise.resolve(current), reload: () => Promise.resolve() };
}

interface TestStore {
  readonly path: string;
  readonly store: ModelKeyStore;
  readonly server: Omit<Parameters<typeof openModelKeyStore>[0], 'path'>;
}

async function newStore(): Promise<TestStore> {
  const path = join(await temporaryFolder(), 'model-keys.sqlite');
  const server = { ...identity, custodies: oneCustody(await newFileCustody()) };
  return { path, store: await openModelKeyStore({ path, ...server }), server };
}

describe('model key store', () => {
  it('gives back what was put, after it was closed, and zeroes it after use (KC-5, KC-9)', async () => {
    const { path, store, server } = await newStore();
    const key = new Uint8Array(32).fill(9);
    await store.put(manifestDigest, key);
    store.close();
    const again = await openModelKeyStore({ path, ...server });
    let held: Uint8Array | undefined;
    await again.withKey(manifestDigest, (unwrapped) => {
      expect(unwrapped).toEqual(key);
      held = unwrapped;
    });
    expect(held).toEqual(new Uint8Array(32));
    const failure = again.withKey(manifestDigest, (unwrapped) => {
      held = unwrapped;
      throw new Error('the use failed');
    });
    await expect(failure).rejects.toThrow('the use failed');
    expect(held).toEqual(new Uint8Array(32));
    again.close();
  });

  it('never replaces a key (KC-9)', async () => {
    const { store } = await newStore();
    await store.put(manifestDigest, new Uint8Array(32).fill(9));
    const code = await refusalCodeAsync(() => store.put(manifestDigest, new Uint8Array(32).fill(8)));
    expect(code).toBe('model-key-exists');
    expect(await store.withKey(manifestDigest, ([first]) => first)).toBe(9);
    store.close();
  });

  it('refuses an unknown model and a key of another length', async () => {
    const { store } = await newStore();
    expect(store.has(manifestDigest)).toBe(false);
    expect(await refusalCodeAsync(() => store.withKey(manifestDigest, () => 0))).toBe('model-key-unknown');
    expect(await refusalCodeAsync(() => store.put(manifestDigest, new Uint8Array(31)))).toBe(
      'key-length-wrong',
    );
    store.close();
  });

  it('does not open under another model, origin or mode (KC-9)', async () => {
    const { path, store, server } = await newStore();
    await store.put(manifestDigest, new Uint8Array(32).fill(9));
    store.close();
    const elsewhere = await openModelKeyStore({ path, ...server, origin: 'other.example/evaluation' });
    expect(await refusalCodeAsync(() => elsewhere.withKey(manifestDigest, () => 0))).toBe(
      'key-wrapped-damaged',
    );
    elsewhere.close();
    const database = new DatabaseSync(path);
    database.prepare('UPDATE model_keys SET manifest_digest = ?').run('cd'.repeat(32));
    database.close();
    const moved = await openModelKeyStore({ path, ...server });
    expect(await refusalCodeAsync(() => moved.withKey('cd'.repeat(32), () => 0))).toBe('key-wrapped-damaged');
    moved.close();
  });

  it('holds no key in the open and is for its owner alone', async () => {
    const { path, store } = await newStore();
    await store.put(manifestDigest, Buffer.from('planted-key-planted-key-planted!'));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    for (const file of [path, `${path}-wal`]) {
      expect((await readFile(file)).includes('planted-key')).toBe(false);
    }
    store.close();
  });

  it('answers a file that is no store with a refusal', async () => {
    const path = join(await temporaryFolder(), 'model-keys.sqlite');
    const server = { ...identity, custodies: oneCustody(await newFileCustody()) };
    await writeFile(path, 'this is no database, and long enough to be read as one'.repeat(20));
    expect(await refusalCodeAsync(() => openModelKeyStore({ path, ...server }))).toBe('key-store-failed');
    const nowhere = join(path, 'below', 'a-file');
    expect(await refusalCodeAsync(() => openModelKeyStore({ path: nowhere, ...server }))).toBe(
      'key-store-failed',
    );
  });
});
