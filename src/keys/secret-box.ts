/** Secrets under a passphrase: Argon2id, then XChaCha20-Poly1305 (docs/spec/key-custody.md section 1). */

import { z } from 'zod';

import { fromBase64, toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { keyIntegrityRefusals, keyUsageRefusals } from './refusals.ts';
import { sodium } from './sodium.ts';

const KIBIBYTE = 2 ** 10;
const MEBIBYTE = 2 ** 20;

/** RFC 9106 section 4, second recommendation, in the one lane that libsodium has. */
const NEW_FILE_COST = { operations: 3, memoryBytes: 64 * MEBIBYTE };

const CHECK_CONTEXT = { name: 'passphrase-check' };

/** The bounds of KC-2: below is guessed too fast, above is an attack on the memory of whoever opens the file. */
export const stretchingSchema = z.strictObject({
  algorithm: z.literal('argon2id'),
  operations: z.int().min(2).max(16),
  memoryBytes: z
    .int()
    .min(64 * MEBIBYTE)
    .max(1024 * MEBIBYTE)
    // Argon2 counts its memory in these: between them, other numbers would give the same key.
    .multipleOf(KIBIBYTE),
  salt: z.base64().length(24),
});
export type Stretching = z.infer<typeof stretchingSchema>;

export const boxSchema = z.strictObject({
  nonce: z.base64().length(32),
  ciphertext: z.base64().min(24).max(1024),
});
export type Box = z.infer<typeof boxSchema>;

/** How a new file stretches its passphrase. */
export function newStretching(): Stretching {
  const salt = toBase64(sodium.randombytes_buf(sodium.crypto_pwhash_SALTBYTES));
  return { algorithm: 'argon2id', ...NEW_FILE_COST, salt };
}

/**
 * Stretches a passphrase for the time of one use; the stretched key is zeroed after it.
 *
 * @throws RefusalError `key-passphrase-empty`, and those of `use`
 */
export async function withStretchedKey<T>(
  passphrase: string,
  stretching: Stretching,
  use: (key: Uint8Array) => T | Promise<T>,
): Promise<T> {
  if (passphrase === '') {
    throw keyUsageRefusals.error('key-passphrase-empty', {
      field: 'passphrase',
      expected: 'a passphrase',
      found: 'none',
    });
  }
  const bytes = toUtf8(passphrase.normalize('NFC'));
  const key = sodium.crypto_pwhash(
    sodium.crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
    bytes,
    fromBase64(stretching.salt, 'stretching.salt'),
    stretching.operations,
    stretching.memoryBytes,
    sodium.crypto_pwhash_ALG_ARGON2ID13,
  );
  try {
    return await use(key);
  } finally {
    bytes.fill(0);
    key.fill(0);
  }
}

/** Encrypts a secret for one place, named by its context. */
export function sealBox(key: Uint8Array, secret: Uint8Array, context: JsonValue): Box {
  const nonce = sodium.randombytes_buf(sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
  return { nonce: toBase64(nonce), ciphertext: toBase64(encrypt(key, nonce, secret, context)) };
}

/** @returns the secret, or undefined when key, context or box is another */
function openBox(key: Uint8Array, box: Box, context: JsonValue): Uint8Array | undefined {
  return decrypt(key, fromBase64(box.nonce, 'nonce'), fromBase64(box.ciphertext, 'ciphertext'), context);
}

export function encrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  secret: Uint8Array,
  context: JsonValue,
): Uint8Array {
  return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
    secret,
    encodeCanonicalJson(context),
    null,
    nonce,
    key,
  );
}

/** @returns the secret, or undefined when anything of the arguments is another than it was */
export function decrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  context: JsonValue,
): Uint8Array | undefined {
  try {
    return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
      null,
      ciphertext,
      encodeCanonicalJson(context),
      nonce,
      key,
    );
  } catch {
    // libsodium reports a wrong tag by an exception without further meaning.
    return undefined;
  }
}

/** The box by which a wrong passphrase is told from a damaged file (KC-4). */
export function sealCheck(key: Uint8Array): Box {
  return sealBox(key, new Uint8Array(0), CHECK_CONTEXT);
}

/** @throws RefusalError `key-passphrase-wrong` */
export function requireCheck(key: Uint8Array, check: Box, path: string): void {
  if (openBox(key, check, CHECK_CONTEXT) === undefined) {
    throw keyIntegrityRefusals.error('key-passphrase-wrong', {
      field: path,
      expected: 'the passphrase of this file (KC-4)',
      found: 'another',
    });
  }
}

/** Opens a box of a file whose passphrase is known to be right. @throws RefusalError `key-file-damaged` */
export function requireSecret(key: Uint8Array, box: Box, context: JsonValue, path: string): Uint8Array {
  const secret = openBox(key, box, context);
  if (secret === undefined) {
    throw keyIntegrityRefusals.error('key-file-damaged', {
      field: path,
      expected: 'secrets as they were written (KC-4)',
      found: 'one that does not open',
    });
  }
  return secret;
}
