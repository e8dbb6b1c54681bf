/** A model key as custody by a PKCS#11 token wraps it (docs/spec/key-custody.md KC-62). */

import { toHex } from '../../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import {
  bigEndian,
  decode,
  encode,
  fixedBytes,
  structure,
  type ValueOf,
} from '../../../attestation/core/layout.ts';
import { GCM_IV_BYTES, GCM_TAG_BYTES } from '../../../native/pkcs11/structures.ts';
import type { ModelKeyContext } from '../custody.ts';

export const WRAPPING_KEY_ID_BYTES = 16;
const MODEL_KEY_BYTES = 32;

/** Other custodies begin with other numbers: what one wrapped is not read by another as something else. */
const VERSION = 0x11;

const wrappedKeyLayout = structure({
  version: bigEndian.u8({ oneOf: [VERSION] }),
  wrappingKey: fixedBytes(WRAPPING_KEY_ID_BYTES),
  iv: fixedBytes(GCM_IV_BYTES),
  ciphertext: fixedBytes(MODEL_KEY_BYTES + GCM_TAG_BYTES),
});
export type TokenWrappedKey = ValueOf<typeof wrappedKeyLayout>;

/** @throws RefusalError `layout-*` */
export function readWrappedKey(bytes: Uint8Array): TokenWrappedKey {
  return decode(wrappedKeyLayout, bytes, 'wrappedKey');
}

export function encodeWrappedKey(value: Omit<TokenWrappedKey, 'version'>): Uint8Array {
  return encode(wrappedKeyLayout, { version: VERSION, ...value }, 'wrappedKey');
}

/** The associated data of AES-GCM: for what the model key is, and under which wrapping key. */
export function associatedData(context: ModelKeyContext, wrappingKey: Uint8Array): Uint8Array {
  const { manifestDigest, origin, mode } = context;
  return encodeCanonicalJson({
    purpose: 'weightgate/model-key/v2',
    manifestDigest,
    origin,
    mode,
    wrappingKey: toHex(wrappingKey),
  });
}
