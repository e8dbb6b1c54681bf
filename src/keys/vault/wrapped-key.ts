/**
 * A model key as custody in Vault wraps it: under a data key that is used for nothing else, and the data key as Vault
 * encrypted it (docs/spec/key-custody.md KC-31).
 */

import { excerpt, fromBase64, fromUtf8, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import {
  bigEndian,
  decode,
  encode,
  fixedBytes,
  sizedBytes,
  structure,
} from '../../../attestation/core/layout.ts';
import type { ModelKeyContext } from '../custody.ts';
import { keyIntegrityRefusals } from '../refusals.ts';
import { decrypt, encrypt } from '../secret-box.ts';
import { sodium } from '../sodium.ts';

const NONCE_BYTES = 24;
const MODEL_KEY_AND_TAG_BYTES = 48;
const MAX_TEXT_BYTES = 512;

const wrappedKeyLayout = structure({
  version: bigEndian.u8({ oneOf: [1] }),
  dataKey: sizedBytes(bigEndian.u16({ max: MAX_TEXT_BYTES })),
  nonce: fixedBytes(NONCE_BYTES),
  ciphertext: fixedBytes(MODEL_KEY_AND_TAG_BYTES),
});

/** How Vault writes what it encrypted: the version of its key, and the ciphertext in base64. */
const VAULT_TEXT = /^vault:v(?<version>[1-9][0-9]{0,8}):(?<ciphertext>[A-Za-z0-9+/]+={0,2})$/;

export interface VaultWrappedKey {
  /** As Vault wrote it. */
  readonly dataKey: string;
  /** Of Vault's key. */
  readonly keyVersion: number;
  readonly nonce: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** The version of the key in a text of Vault. @throws RefusalError `key-wrapped-damaged`, `base64-malformed` */
export function keyVersionOf(text: string): number {
  const { version, ciphertext = '' } = VAULT_TEXT.exec(text)?.groups ?? {};
  if (version === undefined) {
    throw keyIntegrityRefusals.error('key-wrapped-damaged', {
      field: 'wrappedKey.dataKey',
      expected: 'vault:v1:… (KC-31)',
      found: excerpt(text),
    });
  }
  fromBase64(ciphertext, 'wrappedKey.dataKey');
  return Number(version);
}

/** @throws RefusalError `layout-*`, `utf8-malformed`, `base64-malformed`, `key-wrapped-damaged` */
export function readVaultWrappedKey(bytes: Uint8Array): VaultWrappedKey {
  const { dataKey, nonce, ciphertext } = decode(wrappedKeyLayout, bytes, 'wrappedKey');
  const text = fromUtf8(dataKey, 'wrappedKey.dataKey');
  return { dataKey: text, keyVersion: keyVersionOf(text), nonce, ciphertext };
}

/** @throws RefusalError `layout-value` where the text of Vault is too long */
export function writeVaultWrappedKey(wrapped: Omit<VaultWrappedKey, 'keyVersion'>): Uint8Array {
  const { dataKey, nonce, ciphertext } = wrapped;
  return encode(wrappedKeyLayout, { version: 1, dataKey: toUtf8(dataKey), nonce, ciphertext }, 'wrappedKey');
}

function associatedData({ manifestDigest, origin, mode }: ModelKeyContext): JsonValue {
  return { purpose: 'weightgate/model-key/vault/v1', manifestDigest, origin, mode };
}

/** @param dataKey 32 bytes, used for this alone */
export function encryptModelKey(
  dataKey: Uint8Array,
  key: Uint8Array,
  context: ModelKeyContext,
): Pick<VaultWrappedKey, 'nonce' | 'ciphertext'> {
  const nonce = sodium.randombytes_buf(NONCE_BYTES);
  return { nonce, ciphertext: encrypt(dataKey, nonce, key, associatedData(context)) };
}

/** @returns undefined when anything is another than it was */
export function decryptModelKey(
  dataKey: Uint8Array,
  { nonce, ciphertext }: Pick<VaultWrappedKey, 'nonce' | 'ciphertext'>,
  context: ModelKeyContext,
): Uint8Array | undefined {
  return decrypt(dataKey, nonce, ciphertext, associatedData(context));
}
