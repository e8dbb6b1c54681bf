/** A model key as file custody wraps it (docs/spec/key-custody.md KC-10, KC-21). */

import { fromHex, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import {
  bigEndian,
  decode,
  encode,
  fixedBytes,
  remainingBytes,
  variants,
  type ValueOf,
} from '../../../attestation/core/layout.ts';
import type { ModelKeyContext } from '../custody.ts';
import { decrypt, encrypt } from '../secret-box.ts';
import { sodium } from '../sodium.ts';

export const WRAPPING_KEY_ID_BYTES = 16;
const NONCE_BYTES = 24;
const VERSION_WITHOUT_NAME = 1;
const VERSION = 2;

/** The wrapping key of the time when there was one, and wrapped keys did not name it. */
export const UNNAMED_WRAPPING_KEY = '00'.repeat(WRAPPING_KEY_ID_BYTES);

const wrappedKeyLayout = variants('version', bigEndian.u8({ oneOf: [VERSION_WITHOUT_NAME, VERSION] }), {
  [VERSION_WITHOUT_NAME]: { nonce: fixedBytes(NONCE_BYTES), ciphertext: remainingBytes() },
  [VERSION]: {
    wrappingKey: fixedBytes(WRAPPING_KEY_ID_BYTES),
    nonce: fixedBytes(NONCE_BYTES),
    ciphertext: remainingBytes(),
  },
});
type WrappedKey = ValueOf<typeof wrappedKeyLayout>;

/** @throws RefusalError `layout-*` */
export function readWrappedKey(bytes: Uint8Array): WrappedKey {
  return decode(wrappedKeyLayout, bytes, 'wrappedKey');
}

/** The identifier of the wrapping key that a wrapped key names. */
export function wrappingKeyNamedBy(wrapped: WrappedKey): string {
  return wrapped.version === VERSION ? toHex(wrapped.wrappingKey) : UNNAMED_WRAPPING_KEY;
}

function associatedData(context: ModelKeyContext, id: string, version: WrappedKey['version']): JsonValue {
  const { manifestDigest, origin, mode } = context;
  return version === VERSION
    ? { purpose: 'weightgate/model-key/v2', manifestDigest, origin, mode, wrappingKey: id }
    : { purpose: 'weightgate/model-key/v1', manifestDigest, origin, mode };
}

/** @param wrappingKey 32 bytes */
export function wrapUnder(
  { id, wrappingKey }: { readonly id: string; readonly wrappingKey: Uint8Array },
  key: Uint8Array,
  context: ModelKeyContext,
): Uint8Array {
  const nonce = sodium.randombytes_buf(NONCE_BYTES);
  const ciphertext = encrypt(wrappingKey, nonce, key, associatedData(context, id, VERSION));
  const value = { version: VERSION, wrappingKey: fromHex(id, 'wrappingKey'), nonce, ciphertext } as const;
  return encode(wrappedKeyLayout, value, 'wrappedKey');
}

/** @returns the model key, or undefined when anything is another than it was */
export function unwrapWith(
  wrappingKey: Uint8Array,
  wrapped: WrappedKey,
  context: ModelKeyContext,
): Uint8Array | undefined {
  const { nonce, ciphertext, version } = wrapped;
  const bound = associatedData(context, wrappingKeyNamedBy(wrapped), version);
  return decrypt(wrappingKey, nonce, ciphertext, bound);
}
