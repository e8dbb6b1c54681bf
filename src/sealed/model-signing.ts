/**
 * Sealed bundles for the tools of OpenSSF Model Signing: a signature over the ciphertext, made and checked by the signed
 * manifest (docs/spec/sealed-weights.md section 11).
 */

import { createHash } from 'node:crypto';

import type { EcdsaPublicKey, EcdsaSigner } from '../platform/ecdsa.ts';
import { MANIFEST_PATH, MAX_MANIFEST_BYTES, TAGS_PATH } from './layout.ts';
import { openManifest } from './manifest.ts';
import { compareFiles } from './model-files.ts';
import { signModelStatement, verifyModelSignature, type VerifiedModelStatement } from './model-signature.ts';
import { encodeModelStatement, type FileDigest } from './model-statement.ts';
import type { PoolOptions } from './pool.ts';
import type { SealedBundle } from './reader.ts';
import { refuseSize } from './files.ts';

/**
 * Signs the ciphertext of a bundle (SW-61). Reads the manifest and no weights.
 *
 * @returns the content of a signature file
 * @throws RefusalError `sealed-*`, `source-*`
 */
export async function exportModelSignature(
  bundle: SealedBundle,
  signer: EcdsaSigner,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const { name, version, variant } = bundle.manifest.model;
  const files = await filesOf(bundle, signal);
  return await signModelStatement(encodeModelStatement(`${name}-${version}-${variant}`, files), signer);
}

/**
 * Checks a signature and that it is over this bundle, then hashes all ciphertext (SW-65).
 *
 * @param content of a signature file, whose size the caller has bounded
 * @throws RefusalError `model-signature-files`, and those of `verifyModelSignature` and `SealedBundle.verify`
 */
export async function checkModelSignature(
  bundle: SealedBundle,
  content: Uint8Array,
  publicKey: EcdsaPublicKey,
  options: PoolOptions = {},
): Promise<VerifiedModelStatement> {
  const statement = await verifyModelSignature(content, publicKey, 'signature');
  compareFiles(statement, await filesOf(bundle, options.signal));
  await bundle.verify(options);
  return statement;
}

/** Every file that lies in the bundle, with the digest of its bytes as they lie there. */
async function filesOf(bundle: SealedBundle, signal?: AbortSignal): Promise<readonly FileDigest[]> {
  const { source, manifest } = bundle;
  const envelope = await source.readSmall(MANIFEST_PATH, MAX_MANIFEST_BYTES, signal);
  if (envelope === undefined) return refuseSize(MANIFEST_PATH, MAX_MANIFEST_BYTES, MAX_MANIFEST_BYTES + 1);
  // Another manifest may lie there by now than the one that was trusted.
  openManifest(envelope, { digest: manifest.digest });
  return [
    { path: MANIFEST_PATH, sha256: createHash('sha256').update(envelope).digest('hex') },
    { path: TAGS_PATH, sha256: manifest.tagsSha256 },
    ...manifest.files.map(({ path, sha256 }) => ({ path, sha256 })),
  ];
}
