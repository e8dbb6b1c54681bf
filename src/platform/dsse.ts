/**
 * Signed statements: DSSE 1.0 envelopes (secure-systems-lab/dsse, protocol.md) around in-toto Statements v1.
 *
 * Stricter than both documents, so that one statement has one byte form: envelope and statement are canonical JSON,
 * unknown members are refused, base64 is of the standard alphabet, signatures are Ed25519. An envelope that was
 * only read is claimed; `verifyEnvelope` alone makes a `VerifiedEnvelope`, and only its payload may be acted upon.
 */

import { createHash } from 'node:crypto';

import { z } from 'zod';

import { excerpt, fromBase64, toBase64, toHex } from '../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { preAuthenticationEncoding, sha256HexSchema } from './dsse-form.ts';
import { verifyEd25519, type Ed25519Signer } from './ed25519.ts';
import { readShape } from './shape.ts';

export const dsseRefusals = defineRefusals('inauthentic', {
  'dsse-threshold': {
    means: 'Too few of the keys that may sign this statement have signed it.',
    hint: 'Check that the statement was not edited, and that the keys given are those of its signers.',
  },
  'dsse-payload-type': {
    means: 'A signed envelope carries another type of payload than the one asked for.',
    hint: 'Give the file of the right kind.',
  },
});

/** The payload type of every statement of this project. */
export const STATEMENT_PAYLOAD_TYPE = 'application/vnd.in-toto+json';
const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';

/** One person may sign with a few keys; nobody needs more, and each costs a verification for each known key. */
const MAX_SIGNATURES = 64;

interface EnvelopeSignature {
  /** A hint that anybody may have written: never decide by it. */
  readonly keyid?: string | undefined;
  readonly signature: Uint8Array;
}

/** What an envelope claims. */
export interface Envelope {
  readonly payloadType: string;
  readonly payload: Uint8Array;
  readonly signatures: readonly EnvelopeSignature[];
}

declare const verified: unique symbol;

/** What enough keys have signed. */
export interface VerifiedEnvelope {
  readonly [verified]: true;
  readonly payloadType: string;
  readonly payload: Uint8Array;
  /** The distinct public keys whose signatures hold, in the order of the signatures. */
  readonly signedBy: readonly Uint8Array[];
}

const envelopeSchema = z.strictObject({
  payload: z.string(),
  payloadType: z.string(),
  signatures: z
    .array(z.strictObject({ keyid: z.string().optional(), sig: z.string() }))
    .min(1)
    .max(MAX_SIGNATURES),
});

/** The key identifier of this project: lower-case hex SHA-256 of the 32 bytes of the public key. */
export function keyIdOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex');
}

/** Signs a payload once for each signer. The order of the signatures is the order of the signers. */
export async function signEnvelope(
  payloadType: string,
  payload: Uint8Array,
  signers: readonly Ed25519Signer[],
): Promise<Envelope> {
  const message = preAuthenticationEncoding(payloadType, payload);
  const signatures = await Promise.all(
    signers.map(async (signer) => ({
      keyid: keyIdOf(signer.publicKey),
      signature: await signer.sign(message),
    })),
  );
  return { payloadType, payload, signatures };
}

/** The canonical bytes of an envelope: what is stored and sent. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  return encodeCanonicalJson({
    payload: toBase64(envelope.payload),
    payloadType: envelope.payloadType,
    signatures: envelope.signatures.map(({ keyid, signature }) => ({
      ...(keyid === undefined ? {} : { keyid }),
      sig: toBase64(signature),
    })),
  });
}

/**
 * Reads what an envelope claims; nothing of it is trusted yet.
 *
 * @param limits.maxBytes size of the whole envelope above which nothing is parsed
 * @param name what the envelope is, for refusals
 * @throws RefusalError `json-*`, `utf8-malformed`, `base64-malformed`, `shape-mismatch`
 */
export function decodeEnvelope(
  bytes: Uint8Array,
  limits: { readonly maxBytes: number },
  name: string,
): Envelope {
  const document = readShape(envelopeSchema, decodeCanonicalJson(bytes, limits, name), name);
  return {
    payloadType: document.payloadType,
    payload: fromBase64(document.payload, `${name}.payload`),
    signatures: document.signatures.map(({ keyid, sig }, i) => ({
      keyid,
      signature: fromBase64(sig, `${name}.signatures[${i}].sig`),
    })),
  };
}

/**
 * Verifies an envelope against the keys that may sign it.
 *
 * @param publicKeys Ed25519 keys of 32 bytes that the caller trusts for this purpose; one key given twice counts once
 * @param threshold how many distinct keys must have signed; below one is a mistake of the caller and never met
 * @param name what the envelope is, for refusals
 * @throws RefusalError `dsse-threshold`
 */
export function verifyEnvelope(
  envelope: Envelope,
  publicKeys: readonly Uint8Array[],
  threshold: number,
  name: string,
): VerifiedEnvelope {
  const message = preAuthenticationEncoding(envelope.payloadType, envelope.payload);
  const candidates = new Map(publicKeys.map((publicKey) => [toHex(publicKey), publicKey]));
  const signedBy: Uint8Array[] = [];
  for (const { signature } of envelope.signatures) {
    const signer = [...candidates].find(([, publicKey]) => verifyEd25519(publicKey, message, signature));
    if (signer === undefined) continue;
    candidates.delete(signer[0]);
    signedBy.push(signer[1]);
  }
  if (!(threshold >= 1) || signedBy.length < threshold) {
    throw dsseRefusals.error('dsse-threshold', {
      field: `${name}.signatures`,
      expected: `signatures of at least ${threshold} of ${new Set(publicKeys.map(toHex)).size} known keys`,
      found: `${signedBy.length} that hold`,
    });
  }
  const { payloadType, payload } = envelope;
  return { payloadType, payload, signedBy } as unknown as VerifiedEnvelope;
}

/** One thing that a statement is about. */
export interface Subject {
  readonly name: string;
  readonly digest: { readonly sha256: string };
}

export interface Statement<Predicate> {
  readonly subject: readonly Subject[];
  readonly predicateType: string;
  readonly predicate: Predicate;
}

function statementSchema<Predicate>(predicateType: string, predicate: z.ZodType<Predicate>) {
  return z.strictObject({
    _type: z.literal(STATEMENT_TYPE),
    subject: z
      .array(z.strictObject({ name: z.string().min(1), digest: z.strictObject({ sha256: sha256HexSchema }) }))
      .min(1),
    predicateType: z.literal(predicateType),
    predicate,
  });
}

/** The canonical bytes of a statement: the payload that is signed, hashed and named by its digest. */
export function encodeStatement(statement: Statement<JsonValue>): Uint8Array {
  return encodeCanonicalJson({
    _type: STATEMENT_TYPE,
    subject: statement.subject.map(({ name, digest }) => ({ name, digest: { sha256: digest.sha256 } })),
    predicateType: statement.predicateType,
    predicate: statement.predicate,
  });
}

/**
 * Reads a statement of one predicate type.
 *
 * @param limits.maxBytes size of the payload above which nothing is parsed
 * @throws RefusalError `json-*`, `utf8-malformed`, `shape-mismatch`
 */
export function decodeStatement<Predicate>(
  payload: Uint8Array,
  predicateType: string,
  predicate: z.ZodType<Predicate>,
  limits: { readonly maxBytes: number },
  name: string,
): Statement<Predicate> {
  const schema = statementSchema(predicateType, predicate);
  return readShape(schema, decodeCanonicalJson(payload, limits, name), name);
}

/** Signs a statement. */
export async function signStatement(
  statement: Statement<JsonValue>,
  signers: readonly Ed25519Signer[],
): Promise<Envelope> {
  return await signEnvelope(STATEMENT_PAYLOAD_TYPE, encodeStatement(statement), signers);
}

/**
 * Reads the statement that a verified envelope carries.
 *
 * @throws RefusalError `dsse-payload-type`, and those of `decodeStatement`
 */
export function openStatement<Predicate>(
  envelope: VerifiedEnvelope,
  predicateType: string,
  predicate: z.ZodType<Predicate>,
  limits: { readonly maxBytes: number },
  name: string,
): Statement<Predicate> {
  if (envelope.payloadType !== STATEMENT_PAYLOAD_TYPE) {
    throw dsseRefusals.error('dsse-payload-type', {
      field: `${name}.payloadType`,
      expected: STATEMENT_PAYLOAD_TYPE,
      found: excerpt(envelope.payloadType),
    });
  }
  return decodeStatement(envelope.payload, predicateType, predicate, limits, name);
}
