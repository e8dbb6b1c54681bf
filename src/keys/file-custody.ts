/** Custody by a key from a keyring file, for evaluation servers only (KC-7, KC-10). */

import {
  bigEndian,
  decode,
  encode,
  fixedBytes,
  remainingBytes,
  structure,
} from '../../attestation/core/layout.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { KeyCustody, ModelKeyContext } from './custody.ts';
import { keyIntegrityRefusals } from './refusals.ts';
import { decrypt, encrypt } from './secret-box.ts';
import { sodium } from './sodium.ts';

const NONCE_BYTES = 24;

const wrappedKeyLayout = structure({
  version: bigEndian.u8({ oneOf: [1] }),
  nonce: fixedBytes(NONCE_BYTES),
  ciphertext: remainingBytes(),
});

/** @param keyEncryptionKey 32 bytes; must stay as it is for as long as the custody is used */
export function createFileCustody(keyEncryptionKey: Uint8Array): KeyCustody {
  return {
    wrap: (key, context) => Promise.resolve(wrap(keyEncryptionKey, key, context)),
    unwrap: async (wrapped, context) => await Promise.resolve(unwrap(keyEncryptionKey, wrapped, context)),
  };
}

function associatedData({ manifestDigest, origin, mode }: ModelKeyContext): JsonValue {
  return { purpose: 'weightgate/model-key/v1', manifestDigest, origin, mode };
}

function wrap(keyEncryptionKey: Uint8Array, key: Uint8Array, context: ModelKeyContext): Uint8Array {
  const nonce = sodium.randombytes_buf(NONCE_BYTES);
  const ciphertext = encrypt(keyEncryptionKey, nonce, key, associatedData(context));
  return encode(wrappedKeyLayout, { version: 1, nonce, ciphertext }, 'wrappedKey');
}

function unwrap(keyEncryptionKey: Uint8Array, wrapped: Uint8Array, context: ModelKeyContext): Uint8Array {
  const { nonce, ciphertext } = decode(wrappedKeyLayout, wrapped, 'wrappedKey');
  const key = decrypt(keyEncryptionKey, nonce, ciphertext, associatedData(context));
  if (key === undefined) {
    throw keyIntegrityRefusals.error('key-wrapped-damaged', {
      field: `modelKeys.${context.manifestDigest}`,
      expected: 'a key wrapped for this model, server and mode (KC-9)',
      found: 'one that does not open',
    });
  }
  return key;
}
