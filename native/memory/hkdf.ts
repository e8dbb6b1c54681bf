/**
 * HKDF-SHA-256 (RFC 5869) by the OpenSSL inside Node.js, from and to memory at addresses. node:crypto copies the key
 * into an object that keeps it until the collector comes by.
 */

import { nativeFunction, type Pointer } from './libc.ts';
import { memoryRefusals } from './refusals.ts';

/** EVP_PKEY_HKDF of <openssl/evp.h>. */
const HKDF = 1036;

function loadCalls() {
  return {
    newContext: nativeFunction('void *EVP_PKEY_CTX_new_id(int, void *)'),
    freeContext: nativeFunction('void EVP_PKEY_CTX_free(void *)'),
    start: nativeFunction('int EVP_PKEY_derive_init(void *)'),
    sha256: nativeFunction('const void *EVP_sha256()'),
    setDigest: nativeFunction('int EVP_PKEY_CTX_set_hkdf_md(void *, const void *)'),
    setSalt: nativeFunction('int EVP_PKEY_CTX_set1_hkdf_salt(void *, const void *, int)'),
    setKey: nativeFunction('int EVP_PKEY_CTX_set1_hkdf_key(void *, const void *, int)'),
    addInfo: nativeFunction('int EVP_PKEY_CTX_add1_hkdf_info(void *, const void *, int)'),
    derive: nativeFunction('int EVP_PKEY_derive(void *, void *, void *)'),
  };
}

let loaded: ReturnType<typeof loadCalls> | undefined;

export interface HkdfInput {
  readonly key: Pointer;
  readonly keyBytes: number;
  readonly salt: Uint8Array;
  readonly info: Uint8Array;
}

/**
 * Extracts and expands.
 *
 * @param target where the derived key is written
 * @param targetBytes at most 8160
 * @throws RefusalError `memory-platform` where the node binary does not export OpenSSL
 */
export function deriveHkdfSha256(input: HkdfInput, target: Pointer, targetBytes: number): void {
  const calls = (loaded ??= loadCalls());
  const context = calls.newContext(HKDF, null) as bigint;
  const written = new BigUint64Array([BigInt(targetBytes)]);
  try {
    check(calls.start(context));
    check(calls.setDigest(context, calls.sha256() as bigint));
    check(calls.setSalt(context, input.salt, input.salt.length));
    check(calls.setKey(context, input.key, input.keyBytes));
    check(calls.addInfo(context, input.info, input.info.length));
    check(calls.derive(context, target, new Uint8Array(written.buffer)));
  } finally {
    // OpenSSL overwrites its copies of the key here.
    calls.freeContext(context);
  }
}

function check(result: unknown): void {
  if (result === 1) return;
  throw memoryRefusals.error('memory-platform', {
    field: 'memory.hkdf',
    expected: 'OpenSSL to accept the call',
    found: 'a failure',
  });
}
