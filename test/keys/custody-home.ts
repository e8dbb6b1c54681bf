/** The keys of an evaluation home: keyring, file of wrapping keys, a store, and what maintains them. */

import { join } from 'node:path';

import type { CustodyHome } from '../../src/keys/custody-provider.ts';
import type { CustodyMaintenance } from '../../src/keys/custody-maintenance.ts';
import {
  FILE_CUSTODY,
  HomeCustodies,
  prepareCustody,
  writeCustodies,
} from '../../src/keys/home-custodies.ts';
import { createKeyring } from '../../src/keys/keyring.ts';
import { openModelKeyStore, type ModelKeyStore } from '../../src/keys/model-key-store.ts';

const identity = {
  mode: 'evaluation',
  origin: 'example.org/evaluation',
  passphrase: 'correct horse',
} as const;

export interface OpenCustodyHome extends CustodyMaintenance {
  readonly store: ModelKeyStore;
  close(): Promise<void>;
}

export async function createCustodyHome(folder: string): Promise<void> {
  const home = { folder, ...identity };
  await createKeyring({ path: join(folder, 'keyring.json'), ...identity });
  await prepareCustody(FILE_CUSTODY, home);
  await writeCustodies(folder, { version: 1, current: FILE_CUSTODY, former: null });
}

export async function openCustodyHome(folder: string): Promise<OpenCustodyHome> {
  const home: CustodyHome = { folder, ...identity };
  const custodies = await HomeCustodies.open(home);
  const store = await openModelKeyStore({ path: join(folder, 'model-keys.sqlite'), custodies, ...identity });
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    store.close();
    await custodies.close();
  };
  return { home, custodies, store, database: store.database, close };
}

export function digestOfNumber(number: number): string {
  return number.toString(16).padStart(64, '0');
}

export async function putNumbered(store: ModelKeyStore, number: number): Promise<void> {
  await store.put(digestOfNumber(number), new Uint8Array(32).fill(number));
}

/** Whether the store gives back the key that `putNumbered` put. */
export async function holdsNumbered(store: ModelKeyStore, number: number): Promise<boolean> {
  return await store.withKey(digestOfNumber(number), (key) => key.every((byte) => byte === number));
}
