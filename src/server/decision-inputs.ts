/**
 * The inputs of a decision: one document that names everything the decision was derived from besides the log, each part
 * of any size by its digest (docs/spec/replay.md, section 1). Its own digest stands in the decision entry.
 */

import { createHash } from 'node:crypto';

import { z } from 'zod';

import { fromBase64, toBase64, toHex } from '../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import type { AnchorPurpose, TrustAnchor } from '../../attestation/core/certificate-path.ts';
import {
  deviceClassField,
  digestField,
  leaseIdentifierField,
  objectNameField,
  posixSecondsField,
} from '../governance/fields.ts';
import { readShape } from '../platform/shape.ts';

/** The claimed devices are at most 64, a record of each at most 16 KiB. */
const MAX_INPUTS_BYTES = 4 * 1024 * 1024;
const MAX_AUTHORITIES_BYTES = 4 * 1024 * 1024;

const nonceField = z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/);
const recordField = z.custom<JsonValue>((value) => value !== undefined);

/** What the verifier knew of a claimed machine when it judged it. */
const machineSchema = z.strictObject({
  identity: digestField,
  attestationKeyName: objectNameField,
  endorsementKeyDigest: digestField,
  record: recordField,
  moved: z.int().nonnegative(),
});

const leaseRecordSchema = z.strictObject({
  lease: leaseIdentifierField,
  lab: z.string(),
  manifestDigest: digestField,
  machine: z.string(),
  start: z.string(),
  endsAt: posixSecondsField,
});

const inputsSchema = z.strictObject({
  version: z.literal(1),
  /** The payload that the lab signed, with its evidence. */
  requestDigest: digestField,
  /** The one signature of its envelope. */
  signature: z.strictObject({ keyid: z.string().nullable(), sig: z.string() }),
  challenge: z.strictObject({
    nonce: nonceField,
    lab: z.string(),
    manifestDigest: digestField,
    expiresAt: posixSecondsField,
    opened: z.int().nonnegative(),
  }),
  /** When the challenge was consumed; the time by which the evidence was judged. */
  receivedAt: posixSecondsField,
  decidedAt: posixSecondsField,
  /** The authorities that the server was configured with. */
  authoritiesDigest: digestField,
  /** In the order in which it was gathered. */
  collateral: z.array(z.strictObject({ name: z.string(), digest: digestField })),
  /** Why some of it could not be had. */
  collateralFailures: z.array(z.strictObject({ code: z.string(), field: z.string() })),
  machines: z.array(machineSchema),
  /** Starts of the machine that held leases which had not ended. */
  liveStarts: z.array(z.string()),
  /** The lease that the request would renew, as the server knew it. */
  renewedLease: leaseRecordSchema.nullable(),
  holdsModelKey: z.boolean(),
  /** What a granted lease is called, drawn before the decision. */
  lease: leaseIdentifierField,
  serverBuild: z.string().min(1).max(200),
});

export type DecisionInputs = z.infer<typeof inputsSchema>;

/** A document with its name in the store. */
export interface Digested {
  readonly bytes: Uint8Array;
  /** Lower-case hex SHA-256. */
  readonly digest: string;
}

export function digested(bytes: Uint8Array): Digested {
  return { bytes, digest: sha256Hex(bytes) };
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** @throws RefusalError `shape-mismatch`, `json-malformed` */
export function encodeInputs(inputs: DecisionInputs): Digested {
  return digested(encodeCanonicalJson(readShape(inputsSchema, inputs, 'inputs')));
}

/** @throws RefusalError `json-*`, `utf8-malformed`, `shape-mismatch` */
export function decodeInputs(bytes: Uint8Array): DecisionInputs {
  return readShape(
    inputsSchema,
    decodeCanonicalJson(bytes, { maxBytes: MAX_INPUTS_BYTES }, 'inputs'),
    'inputs',
  );
}

/** Digests of the other parts that a decision needs, without its inputs themselves. */
export function partsOf({ requestDigest, authoritiesDigest, collateral }: DecisionInputs): readonly string[] {
  return [...new Set([requestDigest, authoritiesDigest, ...collateral.map(({ digest }) => digest)])];
}

const purposeField = z.enum(['endorsements', 'reference-values', 'attestation-results']);
const anchorHead = { name: z.string().min(1), purpose: purposeField, simulated: z.boolean() };

const authoritiesSchema = z.strictObject({
  version: z.literal(1),
  classes: z.array(
    z.strictObject({
      class: deviceClassField,
      anchors: z.array(
        z.union([
          z.strictObject({ ...anchorHead, certificate: z.string() }),
          z.strictObject({ ...anchorHead, publicKeyDigest: z.string() }),
        ]),
      ),
    }),
  ),
});

type AnchorDocument = z.infer<typeof authoritiesSchema>['classes'][number]['anchors'][number];

/** Authorities by device class. */
export type Authorities = ReadonlyMap<string, readonly TrustAnchor[]>;

/** The document of the authorities that a verifier is configured with: certificates and digests of keys in base64. */
export function encodeAuthorities(authorities: Authorities): Digested {
  const classes = [...authorities].map(([name, anchors]) => ({
    class: name,
    anchors: anchors.map(anchorDocument),
  }));
  return digested(encodeCanonicalJson(readShape(authoritiesSchema, { version: 1, classes }, 'authorities')));
}

function anchorDocument(anchor: TrustAnchor): AnchorDocument {
  const { name, simulated, purpose = 'endorsements' } = anchor;
  const head = { name, purpose, simulated };
  return 'certificate' in anchor
    ? { ...head, certificate: toBase64(anchor.certificate) }
    : { ...head, publicKeyDigest: toBase64(anchor.publicKeyDigest) };
}

/** @throws RefusalError `json-*`, `utf8-malformed`, `shape-mismatch`, `base64-malformed` */
export function decodeAuthorities(bytes: Uint8Array): Authorities {
  const document = decodeCanonicalJson(bytes, { maxBytes: MAX_AUTHORITIES_BYTES }, 'authorities');
  const { classes } = readShape(authoritiesSchema, document, 'authorities');
  return new Map(classes.map(({ class: name, anchors }) => [name, anchors.map(readAnchor)]));
}

function readAnchor(document: AnchorDocument): TrustAnchor {
  const { name, simulated } = document;
  const purpose: AnchorPurpose = document.purpose;
  const head = { name, simulated, purpose };
  return 'certificate' in document
    ? { ...head, certificate: fromBase64(document.certificate, 'authorities.certificate') }
    : { ...head, publicKeyDigest: fromBase64(document.publicKeyDigest, 'authorities.publicKeyDigest') };
}

/** Authorities for people: `class/name purpose digest`, the digest that of the certificate or of its key. */
export function authorityLines(authorities: Authorities): readonly string[] {
  return [...authorities].flatMap(([deviceClass, anchors]) =>
    anchors.map((anchor) => {
      const { name, simulated, purpose = 'endorsements' } = anchor;
      const digest =
        'certificate' in anchor
          ? `certificate ${sha256Hex(anchor.certificate)}`
          : `key ${toHex(anchor.publicKeyDigest)}`;
      return `${deviceClass}/${name} ${purpose}${simulated ? ', simulated' : ''}: ${digest}`;
    }),
  );
}
