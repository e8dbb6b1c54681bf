/**
 * The signed manifest of a bundle (docs/spec/sealed-weights.md section 5). What `openManifest` returns is trusted;
 * there is no way to a manifest that was only claimed.
 */

import { createHash } from 'node:crypto';

import { z } from 'zod';

import { fromBase64, toBase64 } from '../../attestation/core/bytes.ts';
import { sha256HexSchema } from '../platform/dsse-form.ts';
import {
  decodeEnvelope,
  decodeStatement,
  encodeEnvelope,
  encodeStatement,
  keyIdOf,
  openStatement,
  signEnvelope,
  STATEMENT_PAYLOAD_TYPE,
  verifyEnvelope,
  type Envelope,
  type Statement,
} from '../platform/dsse.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';
import {
  AEAD_NAME,
  CHUNK_BYTES,
  chunkCount,
  FORMAT_VERSION,
  MANIFEST_PATH,
  MAX_BUNDLE_BYTES,
  MAX_FILES,
  MAX_MANIFEST_BYTES,
  SALT_BYTES,
  TAGS_PATH,
} from './layout.ts';
import { checkPaths, comparePaths } from './paths.ts';
import { sealedInauthentic, sealedMalformed, sealedUsage } from './refusals.ts';

const SEALED_BUNDLE_PREDICATE_TYPE = 'https://weightgate.dev/predicate/sealed-bundle/v1';

/** Which model the bundle holds, in the owner's words. */
export interface ModelName {
  readonly name: string;
  readonly version: string;
  /** For example `base` or `aligned`: variants move through the phases apart. */
  readonly variant: string;
}

export interface SealedFile {
  readonly path: string;
  readonly bytes: number;
  readonly chunks: number;
  /** Lower-case hex SHA-256 of the ciphertext. */
  readonly sha256: string;
}

export interface ManifestContents {
  readonly model: ModelName;
  /** 32 bytes. */
  readonly salt: Uint8Array;
  /** 32 bytes. */
  readonly keyCommitment: Uint8Array;
  /** In the order of SW-17. */
  readonly files: readonly SealedFile[];
  /** Lower-case hex SHA-256 of the file of tags. */
  readonly tagsSha256: string;
}

declare const trusted: unique symbol;

export interface TrustedManifest extends ManifestContents {
  readonly [trusted]: true;
  /** The manifest digest (SW-18), lower-case hex. */
  readonly digest: string;
  /** Public keys whose signatures were verified; none when it was trusted by its digest alone. */
  readonly signedBy: readonly Uint8Array[];
}

/** By what a caller trusts a manifest: signers, a digest (from a grant, for example), or both. */
export interface ManifestTrust {
  readonly signers?: { readonly publicKeys: readonly Uint8Array[]; readonly threshold: number };
  /** Lower-case hex. */
  readonly digest?: string;
}

const nameSchema = z.string().min(1).max(128);

export const modelNameSchema = z.strictObject({
  name: nameSchema,
  version: nameSchema,
  variant: nameSchema,
});

const predicateSchema = z.strictObject({
  aead: z.literal(AEAD_NAME),
  chunkBytes: z.literal(CHUNK_BYTES),
  files: z
    .array(
      z.strictObject({
        bytes: z.string().regex(/^(?:0|[1-9][0-9]{0,15})$/),
        chunks: z.int().min(1),
        path: z.string(),
      }),
    )
    .min(1),
  formatVersion: z.literal(FORMAT_VERSION),
  keyCommitment: z.string().length(44),
  model: modelNameSchema,
  salt: z.string().length(44),
  tags: z.strictObject({ path: z.literal(TAGS_PATH), sha256: sha256HexSchema }),
});

type ManifestStatement = Statement<z.infer<typeof predicateSchema>>;

/** @returns the bytes of `weightgate.manifest.json`, and the manifest digest */
export async function signManifest(
  contents: ManifestContents,
  signers: readonly Ed25519Signer[],
): Promise<{ readonly bytes: Uint8Array; readonly digest: string }> {
  const payload = encodeStatement(toStatement(contents));
  const envelope = await signEnvelope(STATEMENT_PAYLOAD_TYPE, payload, signers);
  return { bytes: encodeEnvelope(envelope), digest: digestOf(payload) };
}

function toStatement(contents: ManifestContents): ManifestStatement {
  return {
    subject: contents.files.map(({ path, sha256 }) => ({ name: path, digest: { sha256 } })),
    predicateType: SEALED_BUNDLE_PREDICATE_TYPE,
    predicate: {
      aead: AEAD_NAME,
      chunkBytes: CHUNK_BYTES,
      files: contents.files.map(({ path, bytes, chunks }) => ({ bytes: String(bytes), chunks, path })),
      formatVersion: FORMAT_VERSION,
      keyCommitment: toBase64(contents.keyCommitment),
      model: { name: contents.model.name, version: contents.model.version, variant: contents.model.variant },
      salt: toBase64(contents.salt),
      tags: { path: TAGS_PATH, sha256: contents.tagsSha256 },
    },
  };
}

function digestOf(payload: Uint8Array): string {
  return createHash('sha256').update(payload).digest('hex');
}

/**
 * Reads a manifest and verifies it before anything in it is believed.
 *
 * @throws RefusalError `sealed-trust-missing`, `sealed-manifest-digest`, `dsse-*`, `json-*`, `shape-mismatch`,
 *   `base64-malformed`, `sealed-path*`, `sealed-limit`, `sealed-manifest-inconsistent`
 */
export function openManifest(bytes: Uint8Array, trust: ManifestTrust): TrustedManifest {
  if (trust.signers === undefined && trust.digest === undefined) {
    throw sealedUsage.error('sealed-trust-missing', {
      field: 'trust',
      expected: 'keys of signers or a manifest digest',
      found: 'neither',
    });
  }
  const limits = { maxBytes: MAX_MANIFEST_BYTES };
  const envelope = decodeEnvelope(bytes, limits, MANIFEST_PATH);
  const digest = digestOf(envelope.payload);
  if (trust.digest !== undefined) checkDigest(digest, trust.digest);
  const name = `${MANIFEST_PATH}.payload`;
  if (trust.signers === undefined) {
    const { payload } = envelope;
    const read = decodeStatement(payload, SEALED_BUNDLE_PREDICATE_TYPE, predicateSchema, limits, name);
    return { ...fromStatement(read), digest, signedBy: [] } as unknown as TrustedManifest;
  }
  const { publicKeys, threshold } = trust.signers;
  const verified = verifyEnvelope(
    namedSignatures(envelope, publicKeys),
    publicKeys,
    threshold,
    MANIFEST_PATH,
  );
  const statement = openStatement(verified, SEALED_BUNDLE_PREDICATE_TYPE, predicateSchema, limits, name);
  return { ...fromStatement(statement), digest, signedBy: verified.signedBy } as unknown as TrustedManifest;
}

/** SW-14: a signature that does not name its key is not counted, so that no byte of a manifest is without meaning. */
function namedSignatures(envelope: Envelope, publicKeys: readonly Uint8Array[]): Envelope {
  const known = new Set<string | undefined>(publicKeys.map(keyIdOf));
  return { ...envelope, signatures: envelope.signatures.filter(({ keyid }) => known.has(keyid)) };
}

function checkDigest(found: string, expected: string): void {
  if (found === expected) return;
  throw sealedInauthentic.error('sealed-manifest-digest', { field: MANIFEST_PATH, expected, found });
}

function fromStatement(statement: ManifestStatement): ManifestContents {
  const { predicate, subject } = statement;
  checkLimits(predicate.files.map(({ bytes }) => Number(bytes)));
  requireEqual('files.length', predicate.files.length, subject.length);
  const files = predicate.files.map((file, i): SealedFile => {
    const bytes = Number(file.bytes);
    requireEqual(`subject[${i}].name`, file.path, subject[i]?.name);
    requireEqual(`files[${i}].chunks`, chunkCount(bytes), file.chunks);
    return { path: file.path, bytes, chunks: file.chunks, sha256: subject[i]?.digest.sha256 ?? '' };
  });
  const paths = files.map(({ path }) => path);
  checkPaths(paths);
  checkOrder(paths);
  return {
    model: predicate.model,
    salt: fixedBase64(predicate.salt, 'salt', SALT_BYTES),
    keyCommitment: fixedBase64(predicate.keyCommitment, 'keyCommitment', 32),
    files,
    tagsSha256: predicate.tags.sha256,
  };
}

function fixedBase64(text: string, field: string, length: number): Uint8Array {
  const bytes = fromBase64(text, `${MANIFEST_PATH}.${field}`);
  requireEqual(`${field}.length`, length, bytes.length);
  return bytes;
}

/**
 * SW-5: before anything is made in proportion to these numbers. Also asked of a folder that is to be sealed.
 *
 * @throws RefusalError `sealed-limit`
 */
export function checkLimits(fileBytes: readonly number[]): void {
  const total = fileBytes.reduce((sum, bytes) => sum + bytes, 0);
  if (fileBytes.length <= MAX_FILES && total <= MAX_BUNDLE_BYTES) return;
  throw sealedMalformed.error('sealed-limit', {
    field: `${MANIFEST_PATH}.files`,
    expected: `at most ${MAX_FILES} files of at most ${MAX_BUNDLE_BYTES} bytes together`,
    found: `${fileBytes.length} files of ${total} bytes`,
  });
}

function checkOrder(paths: readonly string[]): void {
  const sorted = paths.toSorted(comparePaths);
  for (const [i, path] of paths.entries()) requireEqual(`files[${i}].path`, sorted[i], path);
}

function requireEqual(
  field: string,
  expected: string | number | undefined,
  found: string | number | undefined,
): void {
  if (expected === found) return;
  throw sealedMalformed.error('sealed-manifest-inconsistent', {
    field: `${MANIFEST_PATH}.${field}`,
    expected: String(expected),
    found: String(found),
  });
}
