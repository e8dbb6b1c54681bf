/** One thread: AES-256-GCM over the same buffer again and again, in chunks as bundles have them. */

import { Aes256Gcm } from '../../native/memory/aes-gcm.ts';
import { Mapping } from '../../native/memory/mapping.ts';
import { CHUNK_BYTES } from '../../src/sealed/layout.ts';
import { serveThread } from '../support/threads.ts';

const BUFFER_BYTES = 256 * 1024;

export interface CipherData {
  readonly seconds: number;
}

function prepare({ seconds }: CipherData): () => number {
  const cipher = new Aes256Gcm();
  const buffer = Mapping.create(BUFFER_BYTES);
  const key = new Uint8Array(32);
  const tag = new Uint8Array(16);
  // The bytes are no ciphertext of this key: the tag is compared and found wrong, which takes the same time.
  const openChunk = (): void => {
    cipher.start('open', key, new Uint8Array(12));
    for (let done = 0; done < CHUNK_BYTES; done += BUFFER_BYTES) cipher.update(buffer.address, BUFFER_BYTES);
    cipher.finishOpening(tag);
  };
  openChunk();
  return () => {
    const startedAt = performance.now();
    const endsAt = startedAt + seconds * 1000;
    let chunks = 0;
    while (performance.now() < endsAt) {
      openChunk();
      chunks += 1;
    }
    const rate = (chunks * CHUNK_BYTES) / ((performance.now() - startedAt) / 1000);
    buffer.unmap();
    cipher.close();
    return rate;
  };
}

serveThread(prepare);
