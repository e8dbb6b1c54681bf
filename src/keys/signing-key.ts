/** Signing keys of persons and labs in passphrase-protected files (docs/spec/key-custody.md section 3). */

import { z } from 'zod';

import { equalBytes, fromBase64, toBase64 } from '../../attestation/core/bytes.ts';
import { identifierField, publicKeyField } from '../governance/fields.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';
import { readFileBounded } from '../platform/files.ts';
import { readShape } from '../platform/shape.ts';
import { newSeed, signerFromSeed } from './ed25519-seed.ts';
import { keyIntegrityRefusals } from './refusals.ts';
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
import { parseSecretFile, readSecretFile, writeSecretFile } from './secret-file.ts';

const FILE_TYPE = 'weightgate-signing-key';
const MAX_FILE_BYTES = 64 * 1024;

const signingKeySchema = z.strictObject({
  version: z.literal(1),
  type: z.literal(FILE_TYPE),
  name: identifierField,
  publicKey: publicKeyField,
  stretching: stretchingSchema,
  check: boxSchema,
  secret: boxSchema,
});

/** What anybody may know of a signing key. */
export interface SigningKeyIdentity {
  /** Whose key it is. */
  readonly name: string;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** A signer with the name of whose it is. */
export type NamedSigner = Ed25519Signer & SigningKeyIdentity;

function contextOf(name: string, publicKey: string) {
  return { type: FILE_TYPE, name, publicKey };
}

/**
 * Makes a new signing key in a new file.
 *
 * @param options.name of the person or lab; an identifier of docs/spec/governance.md GV-1
 * @throws RefusalError `shape-mismatch`, `key-passphrase-empty`, `file-exists`, `file-not-written`
 */
export async function createSigningKey(options: {
  readonly path: string;
  readonly name: string;
  readonly passphrase: string;
}): Promise<SigningKeyIdentity> {
  const { path, passphrase } = options;
  const name = readShape(identifierField, options.name, 'name');
  const seed = newSeed();
  try {
    const { publicKey } = signerFromSeed(seed);
    const publicText = toBase64(publicKey);
    const stretching = newStretching();
    const boxes = await withStretchedKey(passphrase, stretching, (key) => ({
      check: sealCheck(key),
      secret: sealBox(key, seed, contextOf(name, publicText)),
    }));
    await writeSecretFile(path, {
      version: 1,
      type: FILE_TYPE,
      name,
      publicKey: publicText,
      stretching,
      ...boxes,
    });
    return { name, publicKey };
  } finally {
    seed.fill(0);
  }
}

/**
 * Reads the public part, without the passphrase. It is claimed by the file, not proven by it.
 *
 * @throws RefusalError `file-*`, `json-*`, `shape-mismatch`
 */
export async function readSigningKeyIdentity(path: string): Promise<SigningKeyIdentity> {
  const bytes = await readFileBounded(path, MAX_FILE_BYTES);
  const { name, publicKey } = parseSecretFile(bytes, signingKeySchema, path);
  return { name, publicKey: fromBase64(publicKey, `${path}.publicKey`) };
}

/**
 * Opens a signing key.
 *
 * @throws RefusalError `key-passphrase-wrong`, `key-file-damaged`, `key-file-exposed`, `file-*`, `json-*`,
 * `shape-mismatch`
 */
export async function openSigningKey(path: string, passphrase: string): Promise<NamedSigner> {
  const document = await readSecretFile(path, signingKeySchema);
  const { name, publicKey } = document;
  const signer = await withStretchedKey(passphrase, document.stretching, (key) => {
    requireCheck(key, document.check, path);
    const seed = requireSecret(key, document.secret, contextOf(name, publicKey), path);
    try {
      return signerFromSeed(seed);
    } finally {
      seed.fill(0);
    }
  });
  if (!equalBytes(signer.publicKey, fromBase64(publicKey, `${path}.publicKey`))) {
    throw keyIntegrityRefusals.error('key-file-damaged', {
      field: path,
      expected: 'the seed of the stated public key (KC-8)',
      found: 'another',
    });
  }
  return { ...signer, name };
}
