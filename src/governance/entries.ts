/**
 * Entries of the release log (docs/spec/release-protocol.md section 8, docs/spec/governance.md section 2): what the
 * server appends, what the agent checks in a grant, what the auditor replays. One canonical byte form for each.
 */

import { z } from 'zod';

import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { decodeEnvelope, encodeEnvelope, type Envelope } from '../platform/dsse.ts';
import { readShape } from '../platform/shape.ts';
import {
  deviceClassField,
  digestField,
  identifierField,
  leaseIdentifierField,
  modeField,
  objectNameField,
  originField,
  phaseField,
  posixSecondsField,
  runIdentifierField,
} from './fields.ts';
import { governanceFormRefusals } from './refusals.ts';
import { trustRootSchema } from './trust-root.ts';

/** RP-32. */
const MAX_ENTRY_BYTES = 65_535;

const head = { version: z.literal(1), at: posixSecondsField };

/** Any JSON: its form was checked when the entry was decoded, its depth when it was encoded. */
const jsonField = z.custom<JsonValue>((value) => value !== undefined);

const genesisSchema = z.strictObject({
  ...head,
  type: z.literal('genesis'),
  origin: originField,
  mode: modeField,
  logKey: z.string().min(1).max(400),
  trustRoot: trustRootSchema,
});

/** One entry is the act of one person: exactly one signature (GV-4). */
const envelopeDocumentSchema = z.strictObject({
  payload: z.string(),
  payloadType: z.string(),
  signatures: z.tuple([z.strictObject({ keyid: z.string().optional(), sig: z.string() })]),
});

const statementSchema = z.strictObject({
  ...head,
  type: z.literal('statement'),
  envelope: envelopeDocumentSchema,
});

const enrolmentSchema = z.strictObject({
  ...head,
  type: z.literal('enrolment'),
  lab: identifierField,
  attestationKeyName: objectNameField,
  endorsementKeyDigest: digestField,
  endorsementCertificateDigest: digestField,
  simulated: z.boolean(),
  /** Name of the enrolled key that certified this one; without it the TPM opened a credential. */
  certifiedBy: objectNameField.optional(),
});

/** Who may hold the wrapping keys of model keys, by the names that homes use. */
export const CUSTODY_PROVIDERS = ['file', 'vault', 'tpm', 'pkcs11'] as const;

export type CustodyProviderName = (typeof CUSTODY_PROVIDERS)[number];

const custodyEventField = z.enum(['opened', 'rotated', 'retired', 'ended']);

/** What became of the wrapping keys of this server (GV-70). */
const custodySchema = z.strictObject({
  ...head,
  type: z.literal('custody'),
  /** Counted from 0, without a gap. */
  sequence: z.int().nonnegative(),
  event: custodyEventField,
  /** Number of the custody in the home of the server. */
  custody: z.int().positive(),
  provider: z.enum(CUSTODY_PROVIDERS),
  wrappingKeys: z.array(z.string().regex(/^[A-Za-z0-9-]{1,64}$/)).max(512),
});

const countField = z.int().nonnegative();

/** What a run of the server has seen since its heartbeat before (GV-80 to GV-86). */
const heartbeatSchema = z.strictObject({
  ...head,
  type: z.literal('heartbeat'),
  /** Index in the log. */
  previous: countField.nullable(),
  run: runIdentifierField,
  startedAt: posixSecondsField,
  countedFrom: posixSecondsField,
  intervalSeconds: z.int().min(60).max(86_400),
  serverBuild: z.string().min(1).max(200),
  decisions: z.strictObject({ granted: countField, refused: countField }),
  pendingStatements: countField,
  handedOut: z.strictObject({ challenges: countField, enrolments: countField }),
  /** Refusals that were answered and stand in no entry, by code. */
  refusals: z
    .array(
      z.strictObject({
        code: z
          .string()
          .regex(/^[a-z0-9]+(?:-[a-z0-9]+){0,15}$/)
          .max(64),
        count: z.int().positive(),
      }),
    )
    .max(257),
  witnessed: z.strictObject({ size: countField, at: posixSecondsField }).nullable(),
});

const leaseSchema = z.strictObject({
  lease: leaseIdentifierField,
  startsAt: posixSecondsField,
  endsAt: posixSecondsField,
  renewAfterSeconds: z.int().positive(),
});

/** What one verified device said of itself, as the verifier put it. */
const deviceClaimsSchema = z.strictObject({
  class: deviceClassField,
  simulated: z.boolean(),
  claims: jsonField,
});

const decisionMembers = {
  at: posixSecondsField,
  type: z.literal('decision'),
  outcome: z.enum(['granted', 'refused']),
  lab: identifierField,
  purpose: z.string().min(1).max(200),
  manifestDigest: digestField,
  inferencePolicyDigest: digestField,
  agentKeyDigest: digestField,
  challengeDigest: digestField,
  requestDigest: digestField,
  evidenceDigest: digestField,
  /** Empty when the evidence was refused. */
  claims: z.array(deviceClaimsSchema).max(64),
  referenceValuesDigest: digestField,
  /** Null while no release policy is in force; nothing is granted then. */
  releasePolicyDigest: digestField.nullable(),
  serverBuild: z.string().min(1).max(200),
  /** Null when the model version is not registered. */
  phase: phaseField.nullable(),
  reasons: z.array(z.string().min(1).max(200)).max(256),
  refusals: z.array(z.strictObject({ code: z.string().max(64), field: z.string().max(200) })).max(64),
  lease: leaseSchema.nullable(),
  renews: leaseIdentifierField.nullable(),
};

/** Version 1 is that of servers that kept no inputs: such a decision stands, and cannot be derived again (RD-3). */
const decisionSchema = z.discriminatedUnion('version', [
  z.strictObject({ version: z.literal(1), ...decisionMembers }),
  z.strictObject({
    version: z.literal(2),
    ...decisionMembers,
    /** Of the document that names everything the decision was derived from (docs/spec/replay.md, RD-1). */
    inputsDigest: digestField,
  }),
]);

const entrySchema = z.discriminatedUnion('type', [
  genesisSchema,
  statementSchema,
  enrolmentSchema,
  decisionSchema,
  custodySchema,
  heartbeatSchema,
]);

export type GenesisEntry = z.infer<typeof genesisSchema>;
export type StatementEntry = z.infer<typeof statementSchema>;
export type EnrolmentEntry = z.infer<typeof enrolmentSchema>;
export type CustodyEntry = z.infer<typeof custodySchema>;
export type HeartbeatEntry = z.infer<typeof heartbeatSchema>;
export type DecisionEntry = z.infer<typeof decisionSchema>;
/** What this release logs. */
export type DerivedDecisionEntry = Extract<DecisionEntry, { version: 2 }>;
export type LogEntry = z.infer<typeof entrySchema>;
export type Lease = z.infer<typeof leaseSchema>;
export type DeviceClaims = z.infer<typeof deviceClaimsSchema>;

/**
 * The canonical bytes of an entry: the leaf of the log.
 *
 * @throws RefusalError `shape-mismatch`, `json-malformed`, `governance-entry-too-large`
 */
export function encodeEntry(entry: LogEntry): Uint8Array<ArrayBuffer> {
  const bytes = encodeCanonicalJson(readShape(entrySchema, entry, 'entry') as unknown as JsonValue);
  if (bytes.length > MAX_ENTRY_BYTES) {
    throw governanceFormRefusals.error('governance-entry-too-large', {
      field: 'entry',
      expected: `at most ${MAX_ENTRY_BYTES} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  return bytes;
}

/**
 * Reads an entry. Its form holds afterwards; whether it was allowed to happen is for `applyEntry` to say.
 *
 * @throws RefusalError `json-*`, `utf8-malformed`, `shape-mismatch`
 */
export function decodeEntry(bytes: Uint8Array): LogEntry {
  return readShape(entrySchema, decodeCanonicalJson(bytes, { maxBytes: MAX_ENTRY_BYTES }, 'entry'), 'entry');
}

/**
 * The entry for one signed envelope.
 *
 * @param at POSIX seconds by the clock of the server
 * @throws RefusalError `shape-mismatch` when the envelope carries another number of signatures than one
 */
export function statementEntry(at: number, envelope: Envelope): StatementEntry {
  const document = decodeCanonicalJson(encodeEnvelope(envelope), { maxBytes: MAX_ENTRY_BYTES }, 'envelope');
  return {
    version: 1,
    type: 'statement',
    at,
    envelope: readShape(envelopeDocumentSchema, document, 'envelope'),
  };
}

/** The envelope of a statement entry, still only claimed. @throws RefusalError `base64-malformed` */
export function envelopeOf(entry: StatementEntry): Envelope {
  const { payload, payloadType, signatures } = entry.envelope;
  const [{ keyid, sig }] = signatures;
  const document: JsonValue = {
    payload,
    payloadType,
    signatures: [keyid === undefined ? { sig } : { keyid, sig }],
  };
  return decodeEnvelope(encodeCanonicalJson(document), { maxBytes: MAX_ENTRY_BYTES }, 'entry.envelope');
}
