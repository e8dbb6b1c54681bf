/** The agent's side of the release protocol (docs/spec/release-protocol.md sections 3 to 5). */

import { createHash } from 'node:crypto';

import { z } from 'zod';

import { computeBinding } from '../../attestation/core/binding.ts';
import { fromBase64, fromHex, toBase64, toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { defineRefusals, isRefusal } from '../../attestation/core/refusal.ts';
import { decodeEntry } from '../governance/entries.ts';
import type { LogTrust } from '../log/checkpoint.ts';
import { verifyTlogProof, type ProofTrust } from '../log/tlog-proof.ts';
import { parseVerifierKey } from '../log/verifier-key.ts';
import type { Witnessing } from '../log/witness-policy.ts';
import type { Clock } from '../platform/clock.ts';
import { encodeEnvelope, signEnvelope } from '../platform/dsse.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';
import { generateAgentKeyPair } from '../platform/grant-wrap.ts';
import type { HttpClient } from '../platform/http-client.ts';
import type { ServerProfile } from '../platform/server-profile.ts';
import { readShape } from '../platform/shape.ts';
import { collectEvidence, deviceRequestSchema, requestedSetSchema, type DeviceAttester } from './evidence.ts';
import { openGrant, type OpenedGrant } from './grant.ts';

export const keyReleaseRefusals = defineRefusals('inauthentic', {
  'challenge-origin': {
    means: 'The server names another log than the one the profile pins.',
    hint: 'Check that profile and address belong together; ask the owner for the current profile.',
  },
  'enrolment-name': {
    means: 'What the server logged is not the enrolment of this lab and the key in this TPM.',
    hint: 'Try again; if it goes on, ask the operator of the server.',
  },
});

const ENROLMENT_REQUEST_TYPE = 'application/vnd.weightgate.enrolment-request.v1+json';
const RELEASE_REQUEST_TYPE = 'application/vnd.weightgate.release-request.v1+json';

const credentialSchema = z.strictObject({
  version: z.literal(1),
  enrolment: z.string().min(1).max(100),
  credentialBlob: z.string(),
  encryptedSecret: z.string(),
  expiresAt: z.int(),
});

export const enrolledSchema = z.strictObject({
  version: z.literal(1),
  attestationKeyName: z.string(),
  entry: z.string(),
  proof: z.string(),
});

const challengeSchema = z.strictObject({
  version: z.literal(1),
  challenge: z.string().min(1).max(100),
  nonce: z.string(),
  origin: z.string(),
  devices: z.array(deviceRequestSchema).min(1).max(32),
  deviceSets: z.array(requestedSetSchema).min(1).max(32),
  expiresAt: z.int(),
});

/** Whoever asks, and with what. */
export interface KeyReleaseOptions {
  readonly client: HttpClient;
  readonly profile: ServerProfile;
  readonly lab: string;
  readonly labSigner: Ed25519Signer;
  readonly purpose: string;
  readonly clock: Clock;
  /** Which witnesses must have seen the log: the choice of the lab, never of the server (WT-21). */
  readonly witnesses: Witnessing;
}

/** The TPM's part of an enrolment. */
export interface EnrollingTpm {
  /** DER. */
  readonly endorsementCertificate: Uint8Array;
  /** TPMT_PUBLIC. */
  readonly attestationKey: Uint8Array;
  /** Name of the attestation key: algorithm and digest. */
  readonly attestationKeyName: Uint8Array;
  activate(credentialBlob: Uint8Array, encryptedSecret: Uint8Array): Promise<Uint8Array>;
}

/** What is asked for: one model under one inference policy. */
export interface ReleaseSubject {
  /** Lower-case hex SHA-256. */
  readonly manifestDigest: string;
  /** Lower-case hex SHA-256. */
  readonly inferencePolicyDigest: string;
  /** The lease to renew, or null. */
  readonly renews: string | null;
}

export interface ReleasedKey extends OpenedGrant {
  /** When the request began, by {@link Clock.monotonicMilliseconds} (RP-29). */
  readonly requestedAtMilliseconds: number;
}

export function logTrustOf(profile: ServerProfile): LogTrust {
  return { origin: profile.origin, keys: [parseVerifierKey(profile.logKey, 'profile.logKey')] };
}

function proofTrustOf({ profile, witnesses }: Pick<KeyReleaseOptions, 'profile' | 'witnesses'>): ProofTrust {
  return { ...logTrustOf(profile), witnesses };
}

/** What an enrolment asks for besides. */
export interface EnrolmentWish {
  /** Whether the server shall forget what it knows of the machine: for people, never for an agent (LC-32). */
  readonly anew: boolean;
}

/**
 * Proves to the server that the attestation key lives in the TPM of the endorsement certificate (RP-8 to RP-12). Done
 * at every start of an agent: the proof is cheap, and the agent then has no state that could be stale.
 *
 * @throws RefusalError what the server refuses, `tpm-*`, `server-*`, `log-*`, `enrolment-name`
 */
export async function enrol(
  options: KeyReleaseOptions,
  tpm: EnrollingTpm,
  { anew }: EnrolmentWish = { anew: false },
): Promise<void> {
  const { client } = options;
  const request = await signed(options, ENROLMENT_REQUEST_TYPE, {
    version: 1,
    lab: options.lab,
    endorsementCertificate: toBase64(tpm.endorsementCertificate),
    endorsementChain: [],
    attestationKey: toBase64(tpm.attestationKey),
    anew,
  });
  const offer = readShape(
    credentialSchema,
    await client.post('/v1/enrolments', request.envelope),
    'enrolment',
  );
  const credential = await tpm.activate(
    fromBase64(offer.credentialBlob, 'enrolment.credentialBlob'),
    fromBase64(offer.encryptedSecret, 'enrolment.encryptedSecret'),
  );
  const path = `/v1/enrolments/${encodeURIComponent(offer.enrolment)}/activation`;
  const body = encodeCanonicalJson({ version: 1, credential: toBase64(credential) });
  const enrolled = readShape(enrolledSchema, await client.post(path, body), 'activation');
  await proveEnrolment(options, enrolled, toHex(tpm.attestationKeyName));
}

/** RP-12: this very key stands in the log, under this lab. */
export async function proveEnrolment(
  options: Pick<KeyReleaseOptions, 'profile' | 'lab' | 'witnesses'>,
  enrolled: z.infer<typeof enrolledSchema>,
  attestationKeyName: string,
): Promise<void> {
  const bytes = fromBase64(enrolled.entry, 'activation.entry');
  await verifyTlogProof(bytes, enrolled.proof, proofTrustOf(options));
  const entry = decodeEntry(bytes);
  const found = entry.type === 'enrolment' ? `${entry.lab} ${entry.attestationKeyName}` : entry.type;
  const expected = `${options.lab} ${attestationKeyName}`;
  if (found !== expected || enrolled.attestationKeyName !== attestationKeyName) {
    throw keyReleaseRefusals.error('enrolment-name', { field: 'activation.entry', expected, found });
  }
}

/**
 * One whole release or renewal: challenge, fresh key, evidence, request, proof, opening.
 *
 * @throws RefusalError what the server refuses, `server-*`, `tpm-*`, `grant-*`, `log-*`, `challenge-origin`
 */
export async function requestRelease(
  options: KeyReleaseOptions,
  subject: ReleaseSubject,
  attesters: readonly DeviceAttester[],
): Promise<ReleasedKey> {
  try {
    return await requestOnce(options, subject, attesters);
  } catch (error) {
    if (!isRefusal(error) || error.refusal.code !== 'tpm-ratchet-unmoved') throw error;
    // An answer of before was lost: what it was about is remembered, and the ratchet can move on.
    await settleAll(attesters);
    return await requestOnce(options, subject, attesters);
  }
}

async function requestOnce(
  options: KeyReleaseOptions,
  subject: ReleaseSubject,
  attesters: readonly DeviceAttester[],
): Promise<ReleasedKey> {
  const requestedAtMilliseconds = options.clock.monotonicMilliseconds();
  const prepared = await prepareRelease(options, subject, attesters);
  const answer = await options.client.post('/v1/releases', prepared.envelope);
  const grant = await openGrant(answer, prepared.expectations);
  await settleAll(attesters);
  return { ...grant, requestedAtMilliseconds };
}

async function settleAll(attesters: readonly DeviceAttester[]): Promise<void> {
  for (const attester of attesters) await attester.settle?.();
}

/** A signed release request and what its grant has to be. */
export interface PreparedRelease {
  /** Canonical bytes of the DSSE envelope: the body of `POST /v1/releases`. */
  readonly envelope: Uint8Array;
  readonly expectations: Parameters<typeof openGrant>[1];
}

/** Everything up to the sending of a release request. */
export async function prepareRelease(
  options: KeyReleaseOptions,
  subject: ReleaseSubject,
  attesters: readonly DeviceAttester[],
): Promise<PreparedRelease> {
  const challenge = await fetchChallenge(options, subject.manifestDigest);
  const nonce = fromBase64(challenge.nonce, 'challenge.nonce');
  const keyPair = await generateAgentKeyPair();
  const binding = computeBinding({
    challengeNonce: nonce,
    agentPublicKey: keyPair.publicKey,
    lab: options.lab,
    manifestDigest: fromHex(subject.manifestDigest, 'manifestDigest'),
    inferencePolicyDigest: fromHex(subject.inferencePolicyDigest, 'inferencePolicyDigest'),
    logOrigin: options.profile.origin,
  });
  const { envelope, payloadDigest } = await signed(options, RELEASE_REQUEST_TYPE, {
    version: 1,
    challenge: challenge.challenge,
    lab: options.lab,
    purpose: options.purpose,
    ...subject,
    agentKey: toBase64(keyPair.publicKey),
    evidence: await collectEvidence(challenge, attesters, binding),
  });
  const expectations = {
    log: proofTrustOf(options),
    lab: options.lab,
    purpose: options.purpose,
    ...subject,
    keyPair,
    nonce,
    requestDigest: payloadDigest,
    binding,
  };
  return { envelope, expectations };
}

async function fetchChallenge(
  { client, lab, profile }: KeyReleaseOptions,
  manifestDigest: string,
): Promise<z.infer<typeof challengeSchema>> {
  const body = encodeCanonicalJson({ version: 1, lab, manifestDigest });
  const challenge = readShape(challengeSchema, await client.post('/v1/challenges', body), 'challenge');
  if (challenge.origin !== profile.origin) {
    throw keyReleaseRefusals.error('challenge-origin', {
      field: 'challenge.origin',
      expected: profile.origin,
      found: challenge.origin,
    });
  }
  return challenge;
}

async function signed(
  { labSigner }: KeyReleaseOptions,
  payloadType: string,
  document: JsonValue,
): Promise<{ readonly envelope: Uint8Array; readonly payloadDigest: string }> {
  const payload = encodeCanonicalJson(document);
  const envelope = await signEnvelope(payloadType, payload, [labSigner]);
  return {
    envelope: encodeEnvelope(envelope),
    payloadDigest: createHash('sha256').update(payload).digest('hex'),
  };
}
