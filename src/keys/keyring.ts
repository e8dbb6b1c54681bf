/** The keyring of a server: its own secrets in one file under one passphrase (docs/spec/key-custody.md section 2). */

import { z } from 'zod';

import type { Ed25519Signer } from '../platform/ed25519.ts';
import { modeField, type Mode } from '../governance/fields.ts';
import type { KeyCustody } from './custody.ts';
import { newSeed, SEED_BYTES, signerFromSeed } from './ed25519-seed.ts';
import { createFileCustody } from './file-custody.ts';
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
  /**
   * Custody of model keys by the key in this file.
   *
   * @throws RefusalError `key-file-custody-in-production`
   */
  custody(): KeyCustody;
  /** Zeroes what can be zeroed; the keyring cannot be used afterwards. */
  close(): void;
}

function namesFor(mode: Mode): readonly SecretName[] {
  return mode === 'evaluation' ? ['log-signing-key', 'key-encryption-key'] : ['log-signing-key'];
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
    const secrets = namesFor(mode).map((name) => {
      const secret = newSeed();
      const box = sealBox(key, secret, contextOf(options, name));
      secret.fill(0);
      return { name, ...box };
    });
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
    return assemble(document, (name) => secretOf(document, key, name, path));
  });
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

function assemble(document: KeyringDocument, secret: (name: SecretName) => Uint8Array): Keyring {
  const seed = secret('log-signing-key');
  const logSigner = signerFromSeed(seed);
  seed.fill(0);
  const keyEncryptionKey = document.mode === 'evaluation' ? secret('key-encryption-key') : undefined;
  return {
    logSigner,
    custody: () => {
      if (keyEncryptionKey === undefined) {
        throw keyUsageRefusals.error('key-file-custody-in-production', {
          field: 'keyring',
          expected: 'custody in hardware (KC-7)',
          found: 'a keyring file',
        });
      }
      return createFileCustody(keyEncryptionKey);
    },
    close: () => keyEncryptionKey?.fill(0),
  };
}
