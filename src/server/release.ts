/**
 * The release of a model key (docs/spec/release-protocol.md section 5), free of HTTP. The order of the steps is that
 * of RP-18, and the key is unwrapped only after its decision stands in the log (RP-22, W2).
 */

import { createHash } from 'node:crypto';

import { computeBinding } from '../../attestation/core/binding.ts';
import { fromBase64, fromHex, toBase64 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import type { DeviceResult } from '../../attestation/core/ear/result.ts';
import { isRefusal, type Refusal } from '../../attestation/core/refusal.ts';
import type { DecisionEntry, Lease } from '../governance/entries.ts';
import { referenceValuesDigestOf, releasePolicyDigestOf, type GovernanceState } from '../governance/state.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { ModelKeyStore } from '../keys/model-key-store.ts';
import { checkAgentPublicKey, wrapModelKey } from '../platform/grant-wrap.ts';
import { decide, type Decision } from '../policy/decide.ts';
import type { ReleasePolicyEngine } from '../policy/release-policy.ts';
import { consumeChallenge, randomHandle } from './challenge.ts';
import { signAttestationResult } from '../platform/attestation-result.ts';
import { resultOf } from './attestation-result.ts';
import { judgeEvidence, refused, type JudgedEvidence, type VerifierSetup } from './evidence.ts';
import type { GovernanceLog, RecordedEntry } from './governance-log.ts';
import { freezingCode, withFreeze, withOtherKeys } from './machine-record.ts';
import { MESSAGE_LIMITS, RELEASE_REQUEST_TYPE, releaseRequestSchema } from './messages.ts';
import type { Grant, ReleaseRequest } from './messages.ts';
import { capacityRefusals, releaseRefusals, renewalRefusals } from './refusals.ts';
import { readSignedRequest, verifyLabSignature, type ClaimedRequest } from './signed-request.ts';
import type { Challenge, LeaseRecord, ServerStorage } from './storage.ts';
import type { ServerWitnesses } from './witnesses.ts';

export interface ReleaseContext {
  readonly governance: GovernanceLog;
  readonly witnesses: Pick<ServerWitnesses, 'demand'>;
  readonly storage: ServerStorage;
  readonly verifier: VerifierSetup;
  readonly engine: ReleasePolicyEngine;
  readonly modelKeys: ModelKeyStore;
  /** Signs attestation results with the key of the log (AR-9). */
  readonly keyring: Pick<Keyring, 'logSigner'>;
  /** Names this program in the decisions that it makes. */
  readonly serverBuild: string;
}

/** A decision that stands in the log. */
export type ReleaseOutcome =
  | { readonly outcome: 'granted'; readonly grant: Grant }
  | { readonly outcome: 'refused'; readonly refusals: readonly Refusal[] };

/** A request with everything that was derived from it before it is decided. */
interface PreparedRequest {
  readonly request: ClaimedRequest<ReleaseRequest>;
  readonly agentKey: Uint8Array;
  readonly challenge: Challenge;
  readonly binding: Uint8Array;
}

/**
 * Decides one release request.
 *
 * @param body from the network: a DSSE envelope
 * @throws RefusalError what no lab can be held to (`json-*`, `shape-mismatch`, `challenge-*`, `request-signature`)
 *   and what is not decided (`server-*`), of which only `server-unwitnessed` is logged
 */
export async function release(context: ReleaseContext, body: Uint8Array): Promise<ReleaseOutcome> {
  const prepared = prepare(context, body);
  const basis = context.governance.state;
  const judged = withSuspicion(prepared.challenge, await judge(context, basis, prepared));
  let decision: Decision | undefined;
  const recorded = await context.governance.record((state, at) => {
    refuseOvertaken(basis, state);
    refuseMovedMachine(context, state, judged);
    decision = decideRequest(context, state, prepared, judged, at);
    const { message, payloadDigest, envelope } = prepared.request;
    const lease = decision.lease === null ? undefined : leaseRecord(message, decision.lease, judged);
    const { collateral } = judged;
    const machines = withOtherKeys(context.storage, judged.machines);
    const { payload } = envelope;
    const kept = { requestDigest: payloadDigest, payload, collateral, lease, machines, now: at };
    context.storage.keepDecision(kept);
    return decisionEntry(context, state, prepared, judged, decision, at);
  });
  if (decision?.outcome === 'granted') {
    await context.witnesses.demand(recorded);
    const grant = await makeGrant(context, prepared, judged.results, decision.lease, recorded);
    return { outcome: 'granted', grant };
  }
  return { outcome: 'refused', refusals: decision?.refusals ?? [] };
}

/** Form, challenge, lab and its signature. */
function prepare({ governance, storage }: ReleaseContext, body: Uint8Array): PreparedRequest {
  const limit = MESSAGE_LIMITS.release;
  const request = readSignedRequest(body, RELEASE_REQUEST_TYPE, releaseRequestSchema, limit);
  const { message } = request;
  const agentKey = fromBase64(message.agentKey, 'request.agentKey');
  const challenge = consumeChallenge(storage, message, governance.now());
  verifyLabSignature(governance.state, request);
  return { request, agentKey, challenge, binding: bindingOf(governance.state, message, agentKey, challenge) };
}

function bindingOf(
  state: GovernanceState,
  message: ReleaseRequest,
  agentPublicKey: Uint8Array,
  challenge: Challenge,
): Uint8Array {
  return computeBinding({
    challengeNonce: challenge.nonce,
    agentPublicKey,
    lab: message.lab,
    manifestDigest: fromHex(message.manifestDigest, 'request.manifestDigest'),
    inferencePolicyDigest: fromHex(message.inferencePolicyDigest, 'request.inferencePolicyDigest'),
    logOrigin: state.origin,
  });
}

/** A key that nothing can be encrypted to is refused like evidence that does not hold, and logged like it. */
async function judge(
  { verifier, governance, storage }: ReleaseContext,
  state: GovernanceState,
  { request, agentKey, binding }: PreparedRequest,
): Promise<JudgedEvidence> {
  try {
    await checkAgentPublicKey(agentKey);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return refused([error.refusal]);
  }
  const { evidence, lab } = request.message;
  const time = governance.now();
  return refuseOversize(await judgeEvidence(verifier, state, storage, { evidence, binding, lab, time }));
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
  return refused([releaseRefusals.refusal('release-claims-too-large', facts)], judged.collateral);
}

/** The evidence was judged by what was in force then; a decision names what is in force now (GV-44). */
function refuseOvertaken(basis: GovernanceState, state: GovernanceState): void {
  if (basis.referenceValues === state.referenceValues && basis.releasePolicy === state.releasePolicy) return;
  const facts = {
    field: 'server',
    expected: 'the policy that the evidence was judged by',
    found: 'a newer one',
  };
  throw capacityRefusals.error('server-overtaken', facts);
}

/**
 * LC-30, LC-31: authentic evidence of a copy, or of a TPM that was set back, freezes the machine, unless another request
 * that was accepted meanwhile explains it.
 *
 * @throws RefusalError `machine-overtaken`
 */
function withSuspicion({ opened }: Challenge, judged: JudgedEvidence): JudgedEvidence {
  if (judged.summary.outcome === 'accepted') return judged;
  const code = freezingCode(judged.summary.refusals);
  if (code === undefined) return judged;
  if (judged.basis.some(({ moved }) => moved > opened)) throw overtakenMachine();
  return { ...judged, machines: judged.basis.map((machine) => withFreeze(machine, code)) };
}

/** A ratchet that two requests show at once moved for one of them only. @throws RefusalError `machine-overtaken` */
function refuseMovedMachine(
  { storage }: ReleaseContext,
  state: GovernanceState,
  { basis }: JudgedEvidence,
): void {
  if ((state.releasePolicy?.policy.tpm?.ratchet ?? 'none') === 'none') return;
  const isStanding = basis.every(({ identity, moved }) => storage.findMachine(identity)?.moved === moved);
  if (!isStanding) throw overtakenMachine();
}

function overtakenMachine(): Error {
  const facts = { field: 'request.evidence', expected: 'no other request of this machine', found: 'one' };
  return capacityRefusals.error('machine-overtaken', facts);
}

function decideRequest(
  context: ReleaseContext,
  state: GovernanceState,
  { request }: PreparedRequest,
  judged: JudgedEvidence,
  at: number,
): Decision {
  const { engine } = context;
  const lease = randomHandle();
  const decision = decide({ state, facts: request.message, evidence: judged.summary, at, lease, engine });
  if (decision.outcome === 'refused') return decision;
  const refusals = serverRefusals(context, request.message, { ...judged, exclusive: isExclusive(state) }, at);
  if (refusals.length === 0) return decision;
  return { outcome: 'refused', phase: decision.phase, reasons: decision.reasons, refusals, lease: null };
}

function isExclusive({ releasePolicy }: GovernanceState): boolean {
  return releasePolicy?.policy.tpm?.ratchet === 'exclusive';
}

/** Who holds, or asks for, a lease. */
type Holder = Pick<JudgedEvidence, 'machine' | 'start'>;

/** What only this server knows: the leases of the machine, and whether it holds the key. */
function serverRefusals(
  { storage, modelKeys }: ReleaseContext,
  message: ReleaseRequest,
  holder: Holder & { readonly exclusive: boolean },
  at: number,
): readonly Refusal[] {
  const standing =
    message.renews === null
      ? liveLeaseRefusal(storage, holder, at)
      : renewalRefusal(storage, message, holder, at);
  if (standing !== undefined) return [standing];
  if (modelKeys.has(message.manifestDigest)) return [];
  const facts = { field: 'manifestDigest', expected: 'a model version whose key is here', found: 'none' };
  return [releaseRefusals.refusal('release-key-missing', facts)];
}

/** LC-33: who was started again while a lease of before goes on may be a copy of who still runs. */
function liveLeaseRefusal(
  storage: ServerStorage,
  { machine, start, exclusive }: Holder & { readonly exclusive: boolean },
  at: number,
): Refusal | undefined {
  if (!exclusive || start === '') return undefined;
  const other = storage.findLiveStarts(machine, at).find((live) => live !== start);
  if (other === undefined) return undefined;
  const facts = { field: 'evidence', expected: `the start ${other} of its last lease`, found: start };
  return renewalRefusals.refusal('machine-lease-live', facts);
}

/** RP-30, LC-16. */
function renewalRefusal(
  storage: ServerStorage,
  message: ReleaseRequest,
  { machine, start }: Holder,
  at: number,
): Refusal | undefined {
  const renews = message.renews ?? '';
  const lease = storage.findLease(renews);
  if (lease === undefined || lease.endsAt <= at) {
    const facts = { field: 'renews', expected: 'a lease that has not ended', found: renews };
    return renewalRefusals.refusal('renewal-unknown', facts);
  }
  const expected = leaseHolder(message, machine);
  for (const member of ['lab', 'manifestDigest', 'machine'] as const) {
    if (lease[member] === expected[member]) continue;
    const facts = { field: `renews.${member}`, expected: lease[member], found: expected[member] };
    return renewalRefusals.refusal('renewal-mismatch', facts);
  }
  if (lease.start !== start) {
    const facts = { field: 'renews.start', expected: lease.start, found: start };
    return renewalRefusals.refusal('renewal-restarted', facts);
  }
  return undefined;
}

function leaseHolder(
  { lab, manifestDigest }: ReleaseRequest,
  machine: string,
): Pick<LeaseRecord, 'lab' | 'manifestDigest' | 'machine'> {
  return { lab, manifestDigest, machine };
}

function leaseRecord(message: ReleaseRequest, lease: Lease, { machine, start }: Holder): LeaseRecord {
  return { ...leaseHolder(message, machine), start, lease: lease.lease, endsAt: lease.endsAt };
}

/** RP-33. */
function decisionEntry(
  { serverBuild }: ReleaseContext,
  state: GovernanceState,
  { request, agentKey, challenge }: PreparedRequest,
  { summary }: JudgedEvidence,
  decision: Decision,
  at: number,
): DecisionEntry {
  const { lab, purpose, manifestDigest, inferencePolicyDigest, evidence, renews } = request.message;
  return {
    version: 1,
    type: 'decision',
    at,
    outcome: decision.outcome,
    lab,
    purpose,
    manifestDigest,
    inferencePolicyDigest,
    agentKeyDigest: sha256Hex(agentKey),
    challengeDigest: sha256Hex(challenge.nonce),
    requestDigest: request.payloadDigest,
    evidenceDigest: sha256Hex(encodeCanonicalJson(evidence)),
    claims: summary.outcome === 'accepted' ? [...summary.devices] : [],
    referenceValuesDigest: referenceValuesDigestOf(state),
    releasePolicyDigest: releasePolicyDigestOf(state),
    serverBuild,
    phase: decision.phase,
    reasons: [...decision.reasons],
    refusals: decision.refusals.slice(0, MAX_LOGGED_REFUSALS).map(loggedRefusal),
    lease: decision.lease,
    renews,
  };
}

/** As many as an entry takes. */
const MAX_LOGGED_REFUSALS = 64;
const MAX_LOGGED_FIELD_LENGTH = 200;

/** The field may have become long by what an attacker named its members; the code never does. */
function loggedRefusal({ code, field }: Refusal): { code: string; field: string } {
  return { code, field: field.slice(0, MAX_LOGGED_FIELD_LENGTH).toWellFormed() };
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Called with a decision that is durable in the log, and with no other (RP-22). */
async function makeGrant(
  context: ReleaseContext,
  prepared: PreparedRequest,
  devices: readonly DeviceResult[],
  lease: Lease,
  recorded: RecordedEntry,
): Promise<Grant> {
  const { governance, modelKeys, keyring } = context;
  const { request, agentKey, binding, challenge } = prepared;
  const { entry, proof, leafHash } = recorded;
  const { manifestDigest, inferencePolicyDigest } = request.message;
  const { origin } = governance.state;
  const grantContext = { origin, manifestDigest, inferencePolicyDigest, lease, leafHash, binding };
  const wrapped = await modelKeys.withKey(manifestDigest, (modelKey) =>
    wrapModelKey(grantContext, agentKey, modelKey),
  );
  return {
    version: 1,
    entry: toBase64(entry),
    proof,
    encapsulatedKey: toBase64(wrapped.encapsulatedKey),
    wrappedKey: toBase64(wrapped.wrappedKey),
    attestationResult: await signAttestationResult(
      resultOf({ recorded, nonce: challenge.nonce, devices }, governance.state),
      keyring.logSigner,
    ),
  };
}
