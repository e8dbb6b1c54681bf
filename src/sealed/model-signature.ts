/**
 * Model signatures by an elliptic-curve key: a Sigstore bundle around a DSSE envelope (SW-60, SW-63), as OpenSSF Model
 * Signing makes and verifies them with its method `key`.
 */

import { z } from 'zod';

import { excerpt, fromBase64, fromUtf8, toBase64 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { parseForeignJson } from '../../attestation/core/foreign-json.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readEcdsaSignature, verifySignature } from '../../attestation/core/signature.ts';
import { preAuthenticationEncoding, sha256HexSchema } from '../platform/dsse-form.ts';
import { STATEMENT_PAYLOAD_TYPE } from '../platform/dsse.ts';
import { CURVE_HASHES, type EcdsaPublicKey, type EcdsaSigner } from '../platform/ecdsa.ts';
import { readShape } from '../platform/shape.ts';
import { decodeModelStatement, modelStatementRefusals, type ModelStatement } from './model-statement.ts';

const MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';
const MAX_DEPTH = 8;

/** A resource takes a few hundred bytes, and there are as many as a bundle has files. */
export const MAX_MODEL_SIGNATURE_BYTES = 64 * 1024 * 1024;

export const modelSignatureRefusals = defineRefusals('inauthentic', {
  'model-signature-key': {
    means: 'A model signature names another key than the one that was given.',
    hint: 'Ask the signer for the public key by a way that you trust.',
  },
  'model-signature-invalid': {
    means: 'A model signature does not hold.',
    hint: 'The signature was altered, or is by another key.',
  },
});

const documentSchema = z.strictObject({
  mediaType: z.string(),
  verificationMaterial: z.looseObject({}),
  dsseEnvelope: z.strictObject({
    payload: z.string(),
    payloadType: z.string(),
    signatures: z.tuple([z.strictObject({ sig: z.string(), keyid: z.string().optional() })]),
  }),
});

const materialSchema = z.strictObject({
  publicKey: z.strictObject({ hint: sha256HexSchema }),
  tlogEntries: z.tuple([]).optional(),
});

declare const verified: unique symbol;

/** What the holder of a key has signed. */
export interface VerifiedModelStatement extends ModelStatement {
  readonly [verified]: true;
}

/** @param payload a statement of `encodeModelStatement`; @returns the content of a signature file */
export async function signModelStatement(payload: Uint8Array, signer: EcdsaSigner): Promise<Uint8Array> {
  const signature = await signer.sign(preAuthenticationEncoding(STATEMENT_PAYLOAD_TYPE, payload));
  return encodeCanonicalJson({
    mediaType: MEDIA_TYPE,
    verificationMaterial: { publicKey: { hint: signer.publicKey.hint }, tlogEntries: [] },
    dsseEnvelope: {
      payload: toBase64(payload),
      payloadType: STATEMENT_PAYLOAD_TYPE,
      signatures: [{ keyid: '', sig: toBase64(signature) }],
    },
  });
}

/**
 * Verifies a signature before anything that it says is read.
 *
 * @param content of a signature file, whose size the caller has bounded
 * @param field what the signature is, for refusals
 * @throws RefusalError `model-signature-*`, `shape-mismatch`, `base64-malformed`, `utf8-malformed`, `der-*`,
 *   `signature-length`, `public-key-invalid`
 */
export async function verifyModelSignature(
  content: Uint8Array,
  { key, hint }: EcdsaPublicKey,
  field: string,
): Promise<VerifiedModelStatement> {
  const { dsseEnvelope: envelope, ...document } = readDocument(content, field);
  requireKind(`${field}.mediaType`, MEDIA_TYPE, document.mediaType);
  requireKind(`${field}.payloadType`, STATEMENT_PAYLOAD_TYPE, envelope.payloadType);
  checkHint(document.verificationMaterial, hint, field);
  const payload = fromBase64(envelope.payload, `${field}.payload`);
  const [{ sig }] = envelope.signatures;
  const signature = readEcdsaSignature(fromBase64(sig, `${field}.sig`), key.curve, `${field}.sig`);
  const message = preAuthenticationEncoding(STATEMENT_PAYLOAD_TYPE, payload);
  const scheme = { algorithm: 'ecdsa', hash: CURVE_HASHES[key.curve] } as const;
  if (!(await verifySignature(key, scheme, signature, message))) {
    throw modelSignatureRefusals.error('model-signature-invalid', {
      field,
      expected: `a signature by the key ${hint}`,
      found: 'one that does not hold',
    });
  }
  return decodeModelStatement(payload, `${field}.payload`) as VerifiedModelStatement;
}

function readDocument(content: Uint8Array, field: string): z.infer<typeof documentSchema> {
  const parsed = parseForeignJson(fromUtf8(content, field), MAX_DEPTH);
  if (parsed.problem === undefined) return readShape(documentSchema, parsed.value, field);
  throw modelStatementRefusals.error('model-signature-malformed', {
    field,
    expected: 'JSON with each member once',
    found: parsed.problem,
  });
}

/** Signatures with certificates or by an identity have other material. */
function checkHint(material: Readonly<Record<string, unknown>>, hint: string, field: string): void {
  const kinds = Object.keys(material).filter((name) => name !== 'tlogEntries');
  requireKind(`${field}.verificationMaterial`, 'publicKey', kinds.join(', '));
  const { publicKey } = readShape(materialSchema, material, `${field}.verificationMaterial`);
  if (publicKey.hint === hint) return;
  throw modelSignatureRefusals.error('model-signature-key', {
    field: `${field}.publicKey.hint`,
    expected: hint,
    found: publicKey.hint,
  });
}

function requireKind(field: string, expected: string, found: string): void {
  if (found === expected) return;
  throw modelStatementRefusals.error('model-signature-kind', { field, expected, found: excerpt(found) });
}
