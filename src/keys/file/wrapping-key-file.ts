/** The file of wrapping keys: which there are and which is current, the keys themselves in boxes (KC-20). */

import { z } from 'zod';

import { toHex } from '../../../attestation/core/bytes.ts';
import { modeField, type Mode } from '../../governance/fields.ts';
import { newSeed, SEED_BYTES } from '../ed25519-seed.ts';
import { keyIntegrityRefusals, keyUsageRefusals, keyUseRefusals } from '../refusals.ts';
import {
  boxSchema,
  requireCheck,
  requireSecret,
  sealBox,
  sealCheck,
  stretchingSchema,
  type Stretching,
} from '../secret-box.ts';
import { readSecretFile } from '../secret-file.ts';
import { sodium } from '../sodium.ts';
import { WRAPPING_KEY_ID_BYTES } from './wrapped-key.ts';

/** Rotations that were not followed by a retirement; the file stays far below what is read of it. */
const MAX_WRAPPING_KEYS = 64;

const identifierField = z.string().regex(/^[0-9a-f]{32}$/);

const wrappingKeyFileSchema = z.strictObject({
  version: z.literal(1),
  type: z.literal('weightgate-wrapping-keys'),
  mode: modeField,
  origin: z.string().min(1).max(200),
  stretching: stretchingSchema,
  check: boxSchema,
  current: identifierField,
  keys: z
    .array(z.strictObject({ id: identifierField, ...boxSchema.shape }))
    .min(1)
    .max(MAX_WRAPPING_KEYS),
});
export type WrappingKeyDocument = z.infer<typeof wrappingKeyFileSchema>;

export interface ServerIdentity {
  readonly mode: Mode;
  readonly origin: string;
}

export interface NamedWrappingKey {
  readonly id: string;
  /** 32 bytes. */
  readonly wrappingKey: Uint8Array;
}

/** A new wrapping key. Whoever calls zeroes it. */
export function newWrappingKey(): NamedWrappingKey {
  return { id: toHex(sodium.randombytes_buf(WRAPPING_KEY_ID_BYTES)), wrappingKey: newSeed() };
}

function boxOf(
  { mode, origin }: ServerIdentity,
  stretchedKey: Uint8Array,
  { id, wrappingKey }: NamedWrappingKey,
): WrappingKeyDocument['keys'][number] {
  return { id, ...sealBox(stretchedKey, wrappingKey, { mode, origin, name: 'wrapping-key', id }) };
}

/** The document of a new file with one key. */
export function newDocument(
  { mode, origin }: ServerIdentity,
  stretching: Stretching,
  stretchedKey: Uint8Array,
  first: NamedWrappingKey,
): WrappingKeyDocument {
  return {
    version: 1,
    type: 'weightgate-wrapping-keys',
    mode,
    origin,
    stretching,
    check: sealCheck(stretchedKey),
    current: first.id,
    keys: [boxOf({ mode, origin }, stretchedKey, first)],
  };
}

/** With one more key, which is the current one. @throws RefusalError `custody-failed` where the file is full */
export function withKeyAdded(
  document: WrappingKeyDocument,
  stretchedKey: Uint8Array,
  added: NamedWrappingKey,
): WrappingKeyDocument {
  if (document.keys.length >= MAX_WRAPPING_KEYS) {
    throw keyUseRefusals.error('custody-failed', {
      field: 'wrappingKeys',
      expected: `fewer than ${MAX_WRAPPING_KEYS} wrapping keys; retire the older ones first`,
      found: String(document.keys.length),
    });
  }
  const keys = [...document.keys, boxOf(document, stretchedKey, added)];
  return { ...document, current: added.id, keys };
}

/** With the current key alone. */
export function withCurrentKeyOnly(document: WrappingKeyDocument): WrappingKeyDocument {
  return { ...document, keys: document.keys.filter(({ id }) => id === document.current) };
}

/**
 * Reads the file; its secrets stay in their boxes.
 *
 * @throws RefusalError `key-file-exposed`, `keyring-other-server`, `key-file-damaged`, `file-*`, `json-*`,
 *   `shape-mismatch`
 */
export async function readWrappingKeyFile(
  path: string,
  { mode, origin }: ServerIdentity,
): Promise<WrappingKeyDocument> {
  const document = await readSecretFile(path, wrappingKeyFileSchema);
  if (document.mode !== mode || document.origin !== origin) {
    throw keyUsageRefusals.error('keyring-other-server', {
      field: path,
      expected: `${origin}, ${mode} (KC-6)`,
      found: `${document.origin}, ${document.mode}`,
    });
  }
  const ids = new Set(document.keys.map(({ id }) => id));
  if (ids.size !== document.keys.length || !ids.has(document.current)) {
    refuseDamaged(path, 'each key once, and the current one among them (KC-20)', 'other keys');
  }
  return document;
}

/**
 * Takes the keys out of their boxes. Whoever calls zeroes them.
 *
 * @throws RefusalError `key-passphrase-wrong`, `key-file-damaged`
 */
export function openBoxes(
  document: WrappingKeyDocument,
  stretchedKey: Uint8Array,
  path: string,
): Map<string, Uint8Array> {
  requireCheck(stretchedKey, document.check, path);
  const { mode, origin } = document;
  const keys = new Map<string, Uint8Array>();
  for (const { id, nonce, ciphertext } of document.keys) {
    const context = { mode, origin, name: 'wrapping-key', id };
    const field = `${path}#${id}`;
    const wrappingKey = requireSecret(stretchedKey, { nonce, ciphertext }, context, field);
    if (wrappingKey.length !== SEED_BYTES) {
      refuseDamaged(field, `${SEED_BYTES} bytes`, `${wrappingKey.length} bytes`);
    }
    keys.set(id, wrappingKey);
  }
  return keys;
}

function refuseDamaged(field: string, expected: string, found: string): never {
  throw keyIntegrityRefusals.error('key-file-damaged', { field, expected, found });
}
