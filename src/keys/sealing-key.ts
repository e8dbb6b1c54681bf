/** A model key while something is sealed with it: in locked memory, and in the key store, wrapped. */

import { KeyMemory } from '../../native/memory/key-memory.ts';
import { offHeapBytes } from '../../native/memory/mapping.ts';
import type { ModelKeyStore } from './model-key-store.ts';

const MODEL_KEY_BYTES = 32;

/**
 * Gives work a new key from the platform's randomness and overwrites the key afterwards.
 *
 * @throws RefusalError `memory-*`, and whatever the work throws
 */
export async function withFreshModelKey<T>(work: (key: KeyMemory) => Promise<T>): Promise<T> {
  const key = KeyMemory.random(MODEL_KEY_BYTES);
  try {
    return await work(key);
  } finally {
    key.close();
  }
}

/**
 * Gives work a key that was stored before, and overwrites it afterwards.
 *
 * @param name the commitment of the key of an unfinished sealing, lower-case hexadecimal
 * @throws RefusalError `model-key-unknown`, `key-wrapped-damaged`, `key-store-failed`, `memory-*`, and those of `work`
 */
export async function withStoredModelKey<T>(
  store: ModelKeyStore,
  name: string,
  work: (key: KeyMemory) => Promise<T>,
): Promise<T> {
  const key = await store.withKey(name, (bytes) => {
    const copy = offHeapBytes(bytes.length);
    copy.set(bytes);
    return KeyMemory.take(copy);
  });
  try {
    return await work(key);
  } finally {
    key.close();
  }
}

/**
 * Stores a key under the manifest that it was sealed with.
 *
 * @param manifestDigest lower-case hexadecimal; of an unfinished sealing the commitment of the key
 * @throws RefusalError `model-key-exists`, `key-store-failed`
 */
export async function storeModelKey(
  store: ModelKeyStore,
  manifestDigest: string,
  key: KeyMemory,
): Promise<void> {
  const copy = offHeapBytes(key.bytes);
  key.use((bytes) => {
    copy.set(bytes);
  });
  try {
    await store.put(manifestDigest, copy);
  } finally {
    copy.fill(0);
  }
}
