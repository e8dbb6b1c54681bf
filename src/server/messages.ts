/**
 * The messages of the server as declared shapes (docs/spec/release-protocol.md sections 3 to 5). Requests are read by
 * them and the OpenAPI document is made from them. Binary members are base64 here and are decoded by whoever uses
 * them.
 */

import { z } from 'zod';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { sha256HexSchema } from '../platform/dsse-form.ts';

/** Payload types of the signed requests. */
export const ENROLMENT_REQUEST_TYPE = 'application/vnd.weightgate.enrolment-request.v1+json';
export const CERTIFICATION_REQUEST_TYPE = 'application/vnd.weightgate.certification-request.v1+json';
export const RELEASE_REQUEST_TYPE = 'application/vnd.weightgate.release-request.v1+json';

/** Largest body of each kind of request, in bytes. */
export const MESSAGE_LIMITS = {
  challenge: 4 * 1024,
  enrolment: 64 * 1024,
  activation: 4 * 1024,
  certification: 16 * 1024,
  /** RP-16. */
  release: 6 * 1024 * 1024,
  statement: 64 * 1024,
} as const;

const version = z.literal(1);
const base64 = z
  .string()
  .max(MESSAGE_LIMITS.release)
  .regex(/^[A-Za-z0-9+/]*={0,2}$/);
/** 1216 bytes in base64, an X-Wing public key. */
const agentKeyText = z.string().regex(/^[A-Za-z0-9+/]{1622}==$/);
const labIdentifier = z.string().min(1).max(127);
const posixSeconds = z.int().nonnegative();
/** Random names that the server gives: 16 bytes in lower-case hexadecimal. */
const handle = z.string().regex(/^[0-9a-f]{32}$/);
const json = z.custom<JsonValue>((value) => value !== undefined);

/** `GET /v1/server` */
export const serverAnswerSchema = z.strictObject({
  version,
  origin: z.string(),
  mode: z.enum(['evaluation', 'production']),
  /** Verifier key of the log, as in a signed note. */
  logKey: z.string(),
  releaseBuild: z.string(),
});

/** DSSE payload of `POST /v1/enrolments` (RP-8). */
export const enrolmentRequestSchema = z.strictObject({
  version,
  lab: labIdentifier,
  /** DER. */
  endorsementCertificate: base64,
  /** DER, from the issuer of the endorsement certificate upwards, without the anchor. */
  endorsementChain: z.array(base64).max(8),
  /** TPMT_PUBLIC. */
  attestationKey: base64,
  /** Whether the lab vouches for a machine that was frozen, cleared or repaired: its past is forgotten (LC-32). */
  anew: z.boolean(),
});

/** RP-10. */
export const enrolmentAnswerSchema = z.strictObject({
  version,
  enrolment: handle,
  credentialBlob: base64,
  encryptedSecret: base64,
  expiresAt: posixSeconds,
});

/** `POST /v1/enrolments/{enrolment}/activation` (RP-11). */
export const activationRequestSchema = z.strictObject({ version, credential: base64 });

/** RP-12. */
export const activationAnswerSchema = z.strictObject({
  version,
  /** Lower-case hex. */
  attestationKeyName: z.string(),
  entry: base64,
  proof: z.string(),
});

/** DSSE payload of `POST /v1/certifications` (tpm-identity.md, EK-12). */
export const certificationRequestSchema = z.strictObject({
  version,
  lab: labIdentifier,
  /** TPMT_PUBLIC of a key that is enrolled. */
  certifyingKey: base64,
  /** TPMT_PUBLIC of the key to enrol. */
  attestationKey: base64,
});

/** EK-13. */
export const certificationAnswerSchema = z.strictObject({
  version,
  certification: handle,
  nonce: base64,
  expiresAt: posixSeconds,
});

/** `POST /v1/certifications/{certification}/statement` (EK-14). */
export const certificationStatementSchema = z.strictObject({
  version,
  /** TPMS_ATTEST. */
  attest: base64,
  /** TPMT_SIGNATURE. */
  signature: base64,
});

/** `POST /v1/challenges` (RP-13). */
export const challengeRequestSchema = z.strictObject({
  version,
  lab: labIdentifier,
  manifestDigest: sha256HexSchema,
});

const requestedDeviceSchema = z.discriminatedUnion('class', [
  z.strictObject({
    class: z.literal('tpm'),
    bank: z.enum(['sha256', 'sha384', 'sha512']),
    pcrs: z.array(z.int().min(0).max(23)).min(1).max(24),
    /** Whether the evidence has to carry the log of that name. */
    eventLog: z.boolean(),
    imaList: z.boolean(),
    /** The register that the agent measures itself into, whose log is wanted; null where it is not. */
    agentPcr: z.int().min(8).max(15).nullable(),
    /** Whether it has to carry the ratchet. */
    ratchet: z.boolean(),
  }),
  z.strictObject({ class: z.literal('sev-snp') }),
  z.strictObject({ class: z.literal('nvidia-gpu') }),
  z.strictObject({ class: z.literal('nvswitch') }),
]);

/** RP-13. */
export const challengeAnswerSchema = z.strictObject({
  version,
  challenge: handle,
  nonce: base64,
  origin: z.string(),
  devices: z.array(requestedDeviceSchema).min(1).max(16),
  /** Alternatives: the evidence is of exactly the devices of one of them. */
  deviceSets: z
    .array(
      z
        .array(z.strictObject({ class: z.string(), count: z.int().positive() }))
        .min(1)
        .max(16),
    )
    .min(1)
    .max(16),
  expiresAt: posixSeconds,
});

/** DSSE payload of `POST /v1/releases` (RP-16). */
export const releaseRequestSchema = z.strictObject({
  version,
  challenge: handle,
  lab: labIdentifier,
  purpose: z.string().min(1).max(200),
  manifestDigest: sha256HexSchema,
  inferencePolicyDigest: sha256HexSchema,
  agentKey: agentKeyText,
  /** The bundle of docs/spec/evidence.md; its own reader checks it. */
  evidence: json,
  renews: handle.nullable(),
});

/** RP-23. */
export const grantSchema = z.strictObject({
  version,
  entry: base64,
  proof: z.string(),
  encapsulatedKey: base64,
  wrappedKey: base64,
  /** A token in compact form (attestation-result.md). */
  attestationResult: z.string().max(MESSAGE_LIMITS.release),
});

/** A DSSE envelope on the wire; the body of every signed request. */
export const envelopeBodySchema = z.strictObject({
  payload: base64,
  payloadType: z.string(),
  /** One key signs; each further signature would cost the server a verification for every key that it knows. */
  signatures: z.array(z.strictObject({ keyid: z.string().optional(), sig: base64 })).length(1),
});

/** `POST /v1/statements` */
export const statementRequestSchema = z.strictObject({ version, envelope: envelopeBodySchema });

export const statementAnswerSchema = z.strictObject({
  version,
  index: z.int().nonnegative(),
  entry: base64,
  proof: z.string(),
  /** What the statement brought about, as the fold over the log names it. */
  effects: z.array(z.record(z.string(), json)),
});

/** `GET /v1/models/{manifestDigest}` */
export const modelAnswerSchema = z.strictObject({
  version,
  manifestDigest: sha256HexSchema,
  model: z.string(),
  modelVersion: z.string(),
  variant: z.enum(['base', 'aligned']),
  inferencePolicyDigest: sha256HexSchema,
  phase: z.enum(['sealed', 'research', 'enterprise', 'public']),
  phaseSince: posixSeconds,
  holds: z.array(
    z.strictObject({ hold: sha256HexSchema, kind: z.enum(['model', 'lab', 'all']), reason: z.string() }),
  ),
});

/** `GET /healthz` */
export const healthAnswerSchema = z.strictObject({ version, status: z.literal('ok') });

export type ServerAnswer = z.infer<typeof serverAnswerSchema>;
export type EnrolmentRequest = z.infer<typeof enrolmentRequestSchema>;
export type EnrolmentAnswer = z.infer<typeof enrolmentAnswerSchema>;
export type ActivationAnswer = z.infer<typeof activationAnswerSchema>;
export type CertificationAnswer = z.infer<typeof certificationAnswerSchema>;
export type CertificationStatement = z.infer<typeof certificationStatementSchema>;
export type ChallengeRequest = z.infer<typeof challengeRequestSchema>;
export type ChallengeAnswer = z.infer<typeof challengeAnswerSchema>;
export type RequestedDevice = z.infer<typeof requestedDeviceSchema>;
export type ReleaseRequest = z.infer<typeof releaseRequestSchema>;
export type Grant = z.infer<typeof grantSchema>;
export type StatementAnswer = z.infer<typeof statementAnswerSchema>;
export type ModelAnswer = z.infer<typeof modelAnswerSchema>;
