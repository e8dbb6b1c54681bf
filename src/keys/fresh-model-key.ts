/** The birth of a model key: in locked memory, and from there into the key store, wrapped. */

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
 * Stores a key under the manifest that it was sealed with.
 *
 * @param manifestDigest lower-case hexadecimal
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
