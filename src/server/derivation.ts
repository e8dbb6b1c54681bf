/**
 * From a request to its decision entry, in the order of RP-18. The server decides by these functions, and whoever derives
 * one of its decisions again calls the same ones (docs/spec/replay.md, RD-4): nothing here knows a clock, a database or the
 * network, and nothing is drawn at random.
 */

import { computeBinding } from '../../attestation/core/binding.ts';
import { fromBase64, fromHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { isRefusal, type Refusal } from '../../attestation/core/refusal.ts';
import type { DerivedDecisionEntry } from '../governance/entries.ts';
import { referenceValuesDigestOf, releasePolicyDigestOf, type GovernanceState } from '../governance/state.ts';
import { checkAgentPublicKey } from '../platform/grant-wrap.ts';
import { decide, type Decision } from '../policy/decide.ts';
import type { ReleasePolicyEngine } from '../policy/release-policy.ts';
import { checkChallenge } from './challenge.ts';
import { sha256Hex, type DecisionInputs } from './decision-inputs.ts';
import { judgeEvidence, refused, type FindBasis, type JudgedEvidence, type Verifier } from './evidence.ts';
import {
  MESSAGE_LIMITS,
  RELEASE_REQUEST_TYPE,
  releaseRequestSchema,
  type ReleaseRequest,
} from './messages.ts';
import { releaseRefusals } from './refusals.ts';
import { readSignedRequest, verifyLabSignature, type ClaimedRequest } from './signed-request.ts';
import { judgeStanding } from './standing.ts';
import type { Challenge } from './storage.ts';

/** A release request whose form was checked. */
interface ReadRequest extends ClaimedRequest<ReleaseRequest> {
  /** 1216 bytes. */
  readonly agentKey: Uint8Array;
}

/** A request to which its lab is held. */
export interface AdmittedRequest {
  readonly request: ReadRequest;
  readonly challenge: Omit<Challenge, 'challenge'>;
  /** RP-17, 32 bytes. */
  readonly binding: Uint8Array;
}

/**
 * @param body a DSSE envelope, from the network
 * @throws RefusalError `json-*`, `utf8-malformed`, `base64-malformed`, `shape-mismatch`, `dsse-payload-type`,
 *   `request-signature`
 */
export function readReleaseRequest(body: Uint8Array): ReadRequest {
  const limit = MESSAGE_LIMITS.release;
  const request = readSignedRequest(body, RELEASE_REQUEST_TYPE, releaseRequestSchema, limit);
  return { ...request, agentKey: fromBase64(request.message.agentKey, 'request.agentKey') };
}

/**
 * Challenge, lab and its signature.
 *
 * @param challenge consumed by this request
 * @param receivedAt POSIX seconds
 * @throws RefusalError `challenge-expired`, `challenge-mismatch`, `request-signature`
 */
export function admitRequest(
  state: GovernanceState,
  request: ReadRequest,
  challenge: Omit<Challenge, 'challenge'>,
  receivedAt: number,
): AdmittedRequest {
  checkChallenge(challenge, request.message, receivedAt);
  verifyLabSignature(state, request);
  const { lab, manifestDigest, inferencePolicyDigest } = request.message;
  const binding = computeBinding({
    challengeNonce: challenge.nonce,
    agentPublicKey: request.agentKey,
    lab,
    manifestDigest: fromHex(manifestDigest, 'request.manifestDigest'),
    inferencePolicyDigest: fromHex(inferencePolicyDigest, 'request.inferencePolicyDigest'),
    logOrigin: state.origin,
  });
  return { request, challenge, binding };
}

/**
 * The evidence. A key that nothing can be encrypted to is refused like evidence that does not hold, and logged like it.
 *
 * @param time POSIX seconds
 */
export async function judgeRequest(
  verifier: Verifier,
  state: GovernanceState,
  { request, binding }: AdmittedRequest,
  time: number,
  findBasis: FindBasis,
): Promise<JudgedEvidence> {
  try {
    await checkAgentPublicKey(request.agentKey);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return refused([error.refusal]);
  }
  const { evidence, lab } = request.message;
  return refuseOversize(await judgeEvidence(verifier, state, { evidence, binding, lab, time }, findBasis));
}

/** Leaves room in the entry for everything that is not claims. */
const MAX_CLAIMS_BYTES = 32 * 1024;

/** What cannot be logged is not granted (W2). */
function refuseOversize(judged: JudgedEvidence): JudgedEvidence {
  if (judged.summary.outcome === 'refused') return judged;
  const { length } = encodeCanonicalJson(judged.summary.devices);
  if (length <= MAX_CLAIMS_BYTES) return judged;
  const facts = {
    field: 'evidence',
    expected: `claims of at most ${MAX_CLAIMS_BYTES} bytes`,
    found: `${length}`,
  };
  return refused([releaseRefusals.refusal('release-claims-too-large', facts)], judged.basis);
}

/** What was decided, and how the log says it. */
export interface DerivedDecision {
  readonly decision: Decision;
  readonly entry: DerivedDecisionEntry;
}

/**
 * Floors, policy, and what only the server knew; then the entry (RP-33).
 *
 * @param state before the entry
 * @param inputs of this request, and @param inputsDigest of their document
 */
export function deriveDecision(
  engine: ReleasePolicyEngine,
  state: GovernanceState,
  admitted: AdmittedRequest,
  judged: JudgedEvidence,
  inputs: DecisionInputs,
  inputsDigest: string,
): DerivedDecision {
  const decision = decideRequest(engine, state, admitted, judged, inputs);
  const { request, challenge } = admitted;
  const { lab, purpose, manifestDigest, inferencePolicyDigest, evidence, renews } = request.message;
  const { summary } = judged;
  const entry: DerivedDecisionEntry = {
    version: 2,
    type: 'decision',
    at: inputs.decidedAt,
    outcome: decision.outcome,
    lab,
    purpose,
    manifestDigest,
    inferencePolicyDigest,
    agentKeyDigest: sha256Hex(request.agentKey),
    challengeDigest: sha256Hex(challenge.nonce),
    requestDigest: request.payloadDigest,
    evidenceDigest: sha256Hex(encodeCanonicalJson(evidence)),
    claims: summary.outcome === 'accepted' ? [...summary.devices] : [],
    referenceValuesDigest: referenceValuesDigestOf(state),
    releasePolicyDigest: releasePolicyDigestOf(state),
    serverBuild: inputs.serverBuild,
    phase: decision.phase,
    reasons: [...decision.reasons],
    refusals: decision.refusals.slice(0, MAX_LOGGED_REFUSALS).map(loggedRefusal),
    lease: decision.lease,
    renews,
    inputsDigest,
  };
  return { decision, entry };
}

function decideRequest(
  engine: ReleasePolicyEngine,
  state: GovernanceState,
  { request: { message } }: AdmittedRequest,
  judged: JudgedEvidence,
  inputs: DecisionInputs,
): Decision {
  const { decidedAt: at, lease } = inputs;
  const decision = decide({ state, facts: message, evidence: judged.summary, at, lease, engine });
  if (decision.outcome === 'refused') return decision;
  const exclusive = state.releasePolicy?.policy.tpm?.ratchet === 'exclusive';
  const refusals = judgeStanding(inputs, message, { ...judged, exclusive }, at);
  if (refusals.length === 0) return decision;
  return { outcome: 'refused', phase: decision.phase, reasons: decision.reasons, refusals, lease: null };
}

/** As many as an entry takes. */
const MAX_LOGGED_REFUSALS = 64;
const MAX_LOGGED_FIELD_LENGTH = 200;

/** The field may have become long by what an attacker named its members; the code never does. */
export function loggedRefusal({ code, field }: Pick<Refusal, 'code' | 'field'>): {
  code: string;
  field: string;
} {
  return { code, field: field.slice(0, MAX_LOGGED_FIELD_LENGTH).toWellFormed() };
}
