/**
 * What persons can state: the predicates of docs/spec/governance.md section 4, each with its schema and with the
 * subject that an in-toto reader sees. `statedAt` is the signer's own clock: it makes two statements of the same
 * content distinct, and no time is ever counted from it.
 */

import { createHash } from 'node:crypto';

import { z } from 'zod';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { MAX_DEVICE_SETS, MAX_DEVICES } from '../../attestation/core/composite/device-set.ts';
import type { Subject } from '../platform/dsse.ts';
import {
  deviceClassField,
  digestField,
  displayNameField,
  identifierField,
  jurisdictionField,
  phaseField,
  posixSecondsField,
  publicKeyField,
  reasonField,
} from './fields.ts';

export const PREDICATE_TYPE_PREFIX = 'https://weightgate.dev/predicate/';

/** Longest lease that any policy can give: an offline machine that was revoked goes on no longer than this. */
const MAX_LEASE_SECONDS = 7 * 86_400;

/** A payload whose envelope still fits into one log entry. */
export const MAX_STATEMENT_BYTES = 48 * 1024;

const leaseSecondsField = z.int().positive().max(MAX_LEASE_SECONDS);

/**
 * A machine of a lab. A TPM is known by its endorsement key, because its attestation key is made later; a device of any
 * other class by the identity that its evidence proves (RP-17).
 */
const machineSchema = z.union([
  z.strictObject({ name: identifierField, endorsementKeyDigest: digestField }),
  z.strictObject({
    name: identifierField,
    deviceClass: deviceClassField.refine((name) => name !== 'tpm', {
      message: 'a TPM is named by its endorsement key',
    }),
    identity: digestField,
  }),
]);
export type Machine = z.infer<typeof machineSchema>;

const labAccreditation = z.strictObject({
  lab: identifierField,
  organisation: displayNameField,
  jurisdiction: jurisdictionField,
  publicKeys: z.array(publicKeyField).min(1).max(16),
  machines: z.array(machineSchema).max(256),
  endsAt: posixSecondsField,
  statedAt: posixSecondsField,
});

const modelVersion = z.strictObject({
  model: identifierField,
  version: identifierField,
  variant: z.enum(['base', 'aligned']),
  manifestDigest: digestField,
  inferencePolicyDigest: digestField,
  statedAt: posixSecondsField,
});

const promotion = z.strictObject({
  manifestDigest: digestField,
  from: phaseField,
  to: phaseField,
  reason: reasonField,
  statedAt: posixSecondsField,
});

const referenceValues = z.strictObject({
  deviceClass: deviceClassField,
  name: identifierField,
  epoch: z.int().positive(),
  /** The reference document of the device class; its own schema is that of `policies/reference-values/<class>`. */
  values: z.custom<JsonValue>((value) => value !== undefined),
  statedAt: posixSecondsField,
});

/** Reference values with an end, an owner, and a share of the machines for which they count (section 7). */
const stagedReferenceValues = z.strictObject({
  ...referenceValues.shape,
  /** Who answers for the values. */
  owner: displayNameField,
  validFrom: posixSecondsField,
  /** The first second at which they are not there any more. */
  validUntil: posixSecondsField,
  rolloutPercent: z.int().min(1).max(100),
});

const pcrsField = z
  .array(z.int().nonnegative().max(23))
  .min(1)
  .refine((pcrs) => pcrs.every((pcr, i) => i === 0 || pcr > (pcrs[i - 1] ?? pcr)), {
    message: 'PCR numbers are in ascending order, each once',
  });

const firmwareVersionField = z.string().regex(/^[0-9a-f]{16}$/);

const tpmPolicy = z.strictObject({
  bank: z.enum(['sha256', 'sha384']),
  pcrs: pcrsField,
  /** Whether reference values decide about the registers. */
  registers: z.enum(['reference', 'any']),
  /** Rules for what was booted, or `any`; their own shape is that of docs/spec/tpm-boot.md. */
  boot: z.custom<JsonValue>((value) => value !== undefined),
  /** Whether a TPM has to prove that it is no copy, and one that was restarted waits for the end of its lease. */
  ratchet: z.enum(['none', 'required', 'exclusive']),
  /** A TPM calls its clock unsafe after an unclean stop, until it has caught up. */
  allowUnsafeClock: z.boolean(),
  /** Vendors stop renewing certificates long before machines are scrapped. */
  endorsementValidity: z.enum(['enforce', 'ignore-expiry']),
  /** Inclusive ranges of firmware versions with known weaknesses. */
  deniedFirmware: z
    .array(
      z.strictObject({
        /** As in the endorsement certificate, for example `id:49465800`. */
        manufacturer: z.string().regex(/^id:[0-9A-F]{8}$/),
        from: firmwareVersionField,
        to: firmwareVersionField,
      }),
    )
    .max(64),
});

const anyDevice = z.literal('any');

/** What a set demands of one device class; the class alone stands for one device of whatever model. */
const deviceDemandSchema = z.union([
  deviceClassField,
  z.strictObject({
    class: deviceClassField,
    count: z.int().positive().max(MAX_DEVICES),
    /** As the class names them in its claims, for example chips of GPUs. */
    models: z.union([anyDevice, z.array(displayNameField).min(1).max(64)]),
    /** The identities that evidence proves. */
    devices: z.union([anyDevice, z.array(digestField).min(1).max(1024)]),
  }),
]);

const deviceSetSchema = z
  .array(deviceDemandSchema)
  .min(1)
  .max(16)
  .refine((set) => new Set(set.map(classOf)).size === set.length, {
    message: 'a set names each class once',
  });

function classOf(demand: z.infer<typeof deviceDemandSchema>): string {
  return typeof demand === 'string' ? demand : demand.class;
}

const releasePolicy = z.strictObject({
  epoch: z.int().positive(),
  /** Cedar policies as text. */
  cedar: z.string().min(1),
  /** A phase without a length grants nothing. */
  leaseSeconds: z.strictObject({
    research: leaseSecondsField.optional(),
    enterprise: leaseSecondsField.optional(),
    public: leaseSecondsField.optional(),
  }),
  /** Alternatives; a machine has exactly the devices of one of them, all accepted. */
  deviceSets: z.array(deviceSetSchema).min(1).max(MAX_DEVICE_SETS),
  /** What is asked and demanded of a TPM. */
  tpm: tpmPolicy.optional(),
  /** The appraisal policy of the class `sev-snp`; its own schema is that of docs/spec/sev-snp.md. */
  sevSnp: z.custom<JsonValue>((value) => value !== undefined).optional(),
  /** Those of the classes `nvidia-gpu` and `nvswitch`, of docs/spec/nvidia-gpu.md. */
  nvidiaGpu: z.custom<JsonValue>((value) => value !== undefined).optional(),
  nvswitch: z.custom<JsonValue>((value) => value !== undefined).optional(),
  statedAt: posixSecondsField,
});

const holdTargetSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('model'), id: digestField }),
  z.strictObject({ kind: z.literal('lab'), id: identifierField }),
  z.strictObject({ kind: z.literal('all'), id: z.literal('all') }),
]);
export type HoldTarget = z.infer<typeof holdTargetSchema>;

const hold = z.strictObject({ target: holdTargetSchema, reason: reasonField, statedAt: posixSecondsField });

const resume = z.strictObject({
  /** Payload digests of the hold statements that it lifts. A hold that came later stays in force. */
  holds: z.array(digestField).min(1).max(64),
  reason: reasonField,
  statedAt: posixSecondsField,
});

/** Every kind of statement that this release knows. */
export const predicateSchemas = {
  'lab-accreditation/v1': labAccreditation,
  'model-version/v1': modelVersion,
  'promotion/v1': promotion,
  'reference-values/v1': referenceValues,
  'reference-values/v2': stagedReferenceValues,
  'release-policy/v1': releasePolicy,
  'hold/v1': hold,
  'resume/v1': resume,
} as const;

export type PredicateName = keyof typeof predicateSchemas;
export type PredicateOf<Name extends PredicateName> = z.infer<(typeof predicateSchemas)[Name]>;

export type LabAccreditation = PredicateOf<'lab-accreditation/v1'>;
export type ModelVersion = PredicateOf<'model-version/v1'>;
export type Promotion = PredicateOf<'promotion/v1'>;
export type ReferenceValues = PredicateOf<'reference-values/v1'>;
export type StagedReferenceValues = PredicateOf<'reference-values/v2'>;
export type ReleasePolicy = PredicateOf<'release-policy/v1'>;
export type Resume = PredicateOf<'resume/v1'>;

/** A predicate together with its kind. */
export type NamedPredicate = {
  [Name in PredicateName]: { readonly name: Name; readonly predicate: PredicateOf<Name> };
}[PredicateName];

function digestOfText(text: string): string {
  return createHash('sha256').update(toUtf8(text)).digest('hex');
}

function textSubject(name: string): Subject {
  return { name, digest: { sha256: digestOfText(name) } };
}

function digestSubject(name: string, sha256: string): Subject {
  return { name, digest: { sha256 } };
}

/** What a statement is about: one subject for each thing, derived from the predicate and from nothing else. */
export function subjectsOf(named: NamedPredicate): readonly Subject[] {
  switch (named.name) {
    case 'lab-accreditation/v1':
      return [textSubject(`lab:${named.predicate.lab}`)];
    case 'model-version/v1':
    case 'promotion/v1':
      return [digestSubject('model', named.predicate.manifestDigest)];
    case 'reference-values/v1':
    case 'reference-values/v2':
      return [textSubject(`reference-values:${named.predicate.deviceClass}/${named.predicate.name}`)];
    case 'release-policy/v1':
      return [textSubject('release-policy')];
    case 'hold/v1': {
      const { kind, id } = named.predicate.target;
      return [
        kind === 'model' ? digestSubject('model', id) : textSubject(kind === 'lab' ? `lab:${id}` : 'all'),
      ];
    }
    case 'resume/v1':
      return named.predicate.holds.map((digest) => digestSubject('hold', digest));
  }
}
