/**
 * AES-256-GCM by the OpenSSL inside Node.js, called at addresses: keys stay in key memory, plaintext goes from and to
 * memory that we own. node:crypto makes a new buffer for each result, which the collector leaves behind unwiped.
 */

import { asyncNativeFunction, nativeFunction, type Pointer } from './libc.ts';
import { memoryRefusals } from './refusals.ts';

const GCM_TAG_BYTES = 16;

/** EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG of <openssl/evp.h>. */
const GET_TAG = 0x10;
const SET_TAG = 0x11;

export type Direction = 'seal' | 'open';

function loadCalls() {
  return {
    fetch: nativeFunction('void *EVP_CIPHER_fetch(void *, const char *, const char *)'),
    release: nativeFunction('void EVP_CIPHER_free(void *)'),
    newContext: nativeFunction('void *EVP_CIPHER_CTX_new()'),
    freeContext: nativeFunction('void EVP_CIPHER_CTX_free(void *)'),
    init: nativeFunction(
      'int EVP_CipherInit_ex(void *, const void *, void *, const void *, const void *, int)',
    ),
    update: nativeFunction('int EVP_CipherUpdate(void *, void *, void *, const void *, int)'),
    final: nativeFunction('int EVP_CipherFinal_ex(void *, void *, void *)'),
    updateAsync: asyncNativeFunction('int EVP_CipherUpdate(void *, void *, void *, const void *, int)'),
    control: nativeFunction('int EVP_CIPHER_CTX_ctrl(void *, int, int, void *)'),
  };
}

/** One message at a time: `start`, `update` in pieces and in place, then `finishSealing` or `finishOpening`. */
export class Aes256Gcm {
  readonly #calls = loadCalls();
  readonly #cipher: bigint;
  readonly #context: bigint;
  /** OpenSSL writes lengths and the empty end of a message here. */
  readonly #written = new Uint8Array(4);
  readonly #nothing = new Uint8Array(16);

  /** @throws RefusalError `memory-platform` where the node binary does not export OpenSSL */
  constructor() {
    this.#cipher = this.#calls.fetch(null, 'AES-256-GCM', null) as bigint;
    this.#context = this.#calls.newContext() as bigint;
    this.#check(this.#calls.init(this.#context, this.#cipher, null, null, null, 1));
  }

  /** @param key 32 bytes; @param nonce 12 bytes, never used before under the key when sealing */
  start(direction: Direction, key: Pointer, nonce: Uint8Array): void {
    this.#check(this.#calls.init(this.#context, null, null, key, nonce, direction === 'seal' ? 1 : 0));
  }

  /** Transforms bytes in place. What is opened is not authentic before `finishOpening` has said so. */
  update(data: Pointer, length: number): void {
    if (length === 0) return;
    this.#check(this.#calls.update(this.#context, data, this.#written, data, length));
  }

  /** As `update`, on another thread; nothing else may be asked of this object until it is done. */
  async updateAsync(address: bigint, length: number): Promise<void> {
    if (length === 0) return;
    this.#check(await this.#calls.updateAsync(this.#context, address, this.#written, address, length));
  }

  /** @returns the tag of the message, 16 bytes */
  finishSealing(): Uint8Array {
    this.#check(this.#calls.final(this.#context, this.#nothing, this.#written));
    const tag = new Uint8Array(GCM_TAG_BYTES);
    this.#check(this.#calls.control(this.#context, GET_TAG, GCM_TAG_BYTES, tag));
    return tag;
  }

  /** @returns whether the message is authentic; when not, whoever called overwrites what `update` wrote */
  finishOpening(tag: Uint8Array): boolean {
    this.#check(this.#calls.control(this.#context, SET_TAG, GCM_TAG_BYTES, tag));
    return this.#calls.final(this.#context, this.#nothing, this.#written) === 1;
  }

  /** Gives the context back; OpenSSL overwrites the key schedule in it. */
  close(): void {
    this.#calls.freeContext(this.#context);
    this.#calls.release(this.#cipher);
  }

  #check(result: unknown): void {
    if (result === 1) return;
    throw memoryRefusals.error('memory-platform', {
      field: 'memory.aes-gcm',
      expected: 'OpenSSL to accept the call',
      found: 'a failure',
    });
  }
}
