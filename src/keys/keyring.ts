/** The keyring of a server: its own secrets in one file under one passphrase (docs/spec/key-custody.md section 2). */

import { z } from 'zod';

import type { Ed25519Signer } from '../platform/ed25519.ts';
import { modeField, type Mode } from '../governance/fields.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { writeFileDurably } from '../platform/files.ts';
import { newSeed, SEED_BYTES, signerFromSeed } from './ed25519-seed.ts';
import { keyIntegrityRefusals, keyUsageRefusals } from './refusals.ts';
import {
  boxSchema,
  newStretching,
  requireCheck,
  requireSecret,
  sealBox,
  sealCheck,
  stretchingSchema,
  withStretchedKey,
} from './secret-box.ts';
import { readSecretFile, writeSecretFile } from './secret-file.ts';

const OWNER_ONLY = 0o600;

/** The second one stands in keyrings of before there were files of wrapping keys (KC-22). */
const secretName = z.enum(['log-signing-key', 'key-encryption-key']);
type SecretName = z.infer<typeof secretName>;

const keyringSchema = z.strictObject({
  version: z.literal(1),
  mode: modeField,
  origin: z.string().min(1).max(200),
  stretching: stretchingSchema,
  check: boxSchema,
  secrets: z.array(z.strictObject({ name: secretName, ...boxSchema.shape })).max(2),
});
type KeyringDocument = z.infer<typeof keyringSchema>;

/** Which keyring, and for whom. */
export interface KeyringOptions {
  readonly path: string;
  readonly mode: Mode;
  readonly origin: string;
  readonly passphrase: string;
}

export interface Keyring {
  /** Signs checkpoints. */
  readonly logSigner: Ed25519Signer;
}

function contextOf({ mode, origin }: { mode: Mode; origin: string }, name: SecretName) {
  return { mode, origin, name };
}

/**
 * Makes a keyring with new keys.
 *
 * @throws RefusalError `key-passphrase-empty`, `file-exists`, `file-not-written`
 */
export async function createKeyring(options: KeyringOptions): Promise<void> {
  const { path, mode, origin, passphrase } = options;
  const stretching = newStretching();
  const document = await withStretchedKey(passphrase, stretching, (key): KeyringDocument => {
    const secret = newSeed();
    const box = sealBox(key, secret, contextOf(options, 'log-signing-key'));
    secret.fill(0);
    const secrets = [{ name: 'log-signing-key' as const, ...box }];
    return { version: 1, mode, origin, stretching, check: sealCheck(key), secrets };
  });
  await writeSecretFile(path, document);
}

/**
 * Opens a keyring.
 *
 * @throws RefusalError `key-passphrase-wrong`, `key-file-damaged`, `key-file-exposed`, `keyring-other-server`, `file-*`,
 * `json-*`, `shape-mismatch`
 */
export async function openKeyring(options: KeyringOptions): Promise<Keyring> {
  const { path, passphrase } = options;
  const document = await readSecretFile(path, keyringSchema);
  requireSameServer(document, options);
  return await withStretchedKey(passphrase, document.stretching, (key) => {
    requireCheck(key, document.check, path);
    const seed = secretOf(document, key, 'log-signing-key', path);
    const logSigner = signerFromSeed(seed);
    seed.fill(0);
    return { logSigner };
  });
}

/**
 * The key-encryption key of a keyring of before there were files of wrapping keys. Whoever calls zeroes it.
 *
 * @returns undefined in any other keyring
 * @throws RefusalError as `openKeyring`
 */
export async function openFormerWrappingKey(options: KeyringOptions): Promise<Uint8Array | undefined> {
  const { path, passphrase } = options;
  const document = await readSecretFile(path, keyringSchema);
  if (!document.secrets.some(({ name }) => name === 'key-encryption-key')) return undefined;
  requireSameServer(document, options);
  return await withStretchedKey(passphrase, document.stretching, (key) => {
    requireCheck(key, document.check, path);
    return secretOf(document, key, 'key-encryption-key', path);
  });
}

/**
 * Writes the keyring again without its key-encryption key, once that stands elsewhere.
 *
 * @throws RefusalError `file-*`, `json-*`, `shape-mismatch`
 */
export async function removeFormerWrappingKey(path: string): Promise<void> {
  const document = await readSecretFile(path, keyringSchema);
  const secrets = document.secrets.filter(({ name }) => name !== 'key-encryption-key');
  await writeFileDurably(path, encodeCanonicalJson({ ...document, secrets }), OWNER_ONLY);
}

function requireSameServer(document: KeyringDocument, { path, mode, origin }: KeyringOptions): void {
  if (document.mode !== mode || document.origin !== origin) {
    throw keyUsageRefusals.error('keyring-other-server', {
      field: path,
      expected: `${origin}, ${mode} (KC-6)`,
      found: `${document.origin}, ${document.mode}`,
    });
  }
}

function secretOf(document: KeyringDocument, key: Uint8Array, name: SecretName, path: string): Uint8Array {
  const boxes = document.secrets.filter((candidate) => candidate.name === name);
  const [box] = boxes;
  const field = `${path}#${name}`;
  if (box === undefined || boxes.length > 1) {
    throw keyIntegrityRefusals.error('key-file-damaged', {
      field,
      expected: 'the secret once (KC-7)',
      found: `${boxes.length} times`,
    });
  }
  const secret = requireSecret(
    key,
    { nonce: box.nonce, ciphertext: box.ciphertext },
    contextOf(document, name),
    field,
  );
  if (secret.length !== SEED_BYTES) {
    throw keyIntegrityRefusals.error('key-file-damaged', {
      field,
      expected: `${SEED_BYTES} bytes`,
      found: `${secret.length} bytes`,
    });
  }
  return secret;
}
