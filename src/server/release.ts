/**
 * The release of a model key (docs/spec/release-protocol.md section 5), free of HTTP. The order of the steps is that
 * of RP-18, and the key is unwrapped only after its decision stands in the log (RP-22, W2). What is decided follows from
 * derivation.ts; here stands what a server does around it.
 */

import { toBase64 } from '../../attestation/core/bytes.ts';
import type { DeviceResult } from '../../attestation/core/ear/result.ts';
import type { Refusal } from '../../attestation/core/refusal.ts';
import type { Lease } from '../governance/entries.ts';
import type { GovernanceState } from '../governance/state.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { ModelKeyStore } from '../keys/model-key-store.ts';
import { signAttestationResult } from '../platform/attestation-result.ts';
import { wrapModelKey } from '../platform/grant-wrap.ts';
import type { ReleasePolicyEngine } from '../policy/release-policy.ts';
import { resultOf } from './attestation-result.ts';
import { consumeChallenge, randomHandle } from './challenge.ts';
import { gatherInputs } from './decision-keeping.ts';
import {
  admitRequest,
  deriveDecision,
  judgeRequest,
  readReleaseRequest,
  type AdmittedRequest,
  type DerivedDecision,
} from './derivation.ts';
import { lookUpBasis, type JudgedEvidence, type VerifierSetup } from './evidence.ts';
import type { EvidenceStore } from './evidence-store.ts';
import type { GovernanceLog, RecordedEntry } from './governance-log.ts';
import { freezingCode, withFreeze, withOtherKeys } from './machine-record.ts';
import type { Grant } from './messages.ts';
import { capacityRefusals } from './refusals.ts';
import { leaseHolder, type StandingFacts } from './standing.ts';
import type { Challenge, KnownMachine, LeaseRecord, ServerStorage } from './storage.ts';
import type { ServerWitnesses } from './witnesses.ts';

export interface ReleaseContext {
  readonly governance: GovernanceLog;
  readonly witnesses: Pick<ServerWitnesses, 'demand'>;
  readonly storage: ServerStorage;
  readonly evidence: EvidenceStore;
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

/** A request whose evidence was judged, with the time by which it was. */
interface JudgedRequest {
  readonly admitted: AdmittedRequest;
  readonly judged: JudgedEvidence;
  /** POSIX seconds. */
  readonly receivedAt: number;
}

/**
 * Decides one release request.
 *
 * @param body from the network: a DSSE envelope
 * @throws RefusalError what no lab can be held to (`json-*`, `shape-mismatch`, `challenge-*`, `request-signature`)
 *   and what is not decided (`server-*`), of which only `server-unwitnessed` is logged
 */
export async function release(context: ReleaseContext, body: Uint8Array): Promise<ReleaseOutcome> {
  const { governance, storage, verifier } = context;
  const request = readReleaseRequest(body);
  const { lab } = request.message;
  const receivedAt = governance.now();
  const challenge = consumeChallenge(storage, request.message.challenge);
  const basis = governance.state;
  const admitted = admitRequest(basis, request, challenge, receivedAt);
  const findBasis = lookUpBasis(verifier, storage, { lab, time: receivedAt });
  const judged = withSuspicion(
    challenge,
    await judgeRequest(verifier, basis, admitted, receivedAt, findBasis),
  );
  let made: DerivedDecision | undefined;
  let { machines: standing } = judged.basis;
  const recorded = await governance.record((state, at) => {
    refuseOvertaken(basis, state, lab);
    refuseMovedMachine(storage, state, standing);
    made = makeDecision(context, state, { admitted, judged, receivedAt }, at);
    // A shared log may ask again, for a later place: what this request moved itself was no other request.
    standing = standing.map((machine) => storage.findMachine(machine.identity) ?? machine);
    return made.entry;
  });
  if (made?.decision.outcome === 'granted') {
    await context.witnesses.demand(recorded);
    const grant = await makeGrant(context, admitted, judged.results, made.decision.lease, recorded);
    return { outcome: 'granted', grant };
  }
  return { outcome: 'refused', refusals: made?.decision.refusals ?? [] };
}

/** Gathers what is known, derives the decision from it, and keeps both before anything is logged (RD-2, RP-34). */
function makeDecision(
  context: ReleaseContext,
  state: GovernanceState,
  request: JudgedRequest,
  at: number,
): DerivedDecision {
  const { storage, engine, evidence, serverBuild, verifier } = context;
  const { admitted, judged, receivedAt } = request;
  const terms = { receivedAt, decidedAt: at, lease: randomHandle(), serverBuild };
  const standing = standingFacts(context, request, at);
  const kept = gatherInputs(admitted, judged.basis, standing, terms, verifier.anchors);
  const { document, inputs } = kept;
  const derived = deriveDecision(engine, state, admitted, judged, document, inputs.digest);
  evidence.keep(kept);
  const { lease } = derived.decision;
  const machines = withOtherKeys(storage, judged.machines);
  storage.keepDecision({ lease: lease && leaseRecord(admitted, lease, judged), machines, now: at });
  return derived;
}

function standingFacts(
  { storage, modelKeys }: ReleaseContext,
  { admitted, judged }: JudgedRequest,
  at: number,
): StandingFacts {
  const { renews, manifestDigest } = admitted.request.message;
  return {
    liveStarts: judged.machine === '' ? [] : storage.findLiveStarts(judged.machine, at),
    renewedLease: (renews === null ? undefined : storage.findLease(renews)) ?? null,
    holdsModelKey: modelKeys.has(manifestDigest),
  };
}

function leaseRecord(
  { request }: AdmittedRequest,
  { lease, endsAt }: Lease,
  { machine, start }: JudgedEvidence,
): LeaseRecord {
  return { ...leaseHolder(request.message, machine), start, lease, endsAt };
}

/**
 * The evidence was judged by what was in force then; a decision names what is in force now (GV-44), and is derived again
 * from the state at its place in the log (RD-4).
 */
function refuseOvertaken(basis: GovernanceState, state: GovernanceState, lab: string): void {
  const isStanding =
    basis.referenceValues === state.referenceValues &&
    basis.releasePolicy === state.releasePolicy &&
    basis.labs.get(lab) === state.labs.get(lab);
  if (isStanding) return;
  const facts = {
    field: 'server',
    expected: 'the policy and accreditation that the evidence was judged by',
    found: 'newer ones',
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
  const { machines } = judged.basis;
  if (machines.some(({ moved }) => moved > opened)) throw overtakenMachine();
  return { ...judged, machines: machines.map((machine) => withFreeze(machine, code)) };
}

/** A ratchet that two requests show at once moved for one of them only. @throws RefusalError `machine-overtaken` */
function refuseMovedMachine(
  storage: ServerStorage,
  state: GovernanceState,
  machines: readonly KnownMachine[],
): void {
  if ((state.releasePolicy?.policy.tpm?.ratchet ?? 'none') === 'none') return;
  const isStanding = machines.every(({ identity, moved }) => storage.findMachine(identity)?.moved === moved);
  if (!isStanding) throw overtakenMachine();
}

function overtakenMachine(): Error {
  const facts = { field: 'request.evidence', expected: 'no other request of this machine', found: 'one' };
  return capacityRefusals.error('machine-overtaken', facts);
}

/** Called with a decision that is durable in the log, and with no other (RP-22). */
async function makeGrant(
  context: ReleaseContext,
  admitted: AdmittedRequest,
  devices: readonly DeviceResult[],
  lease: Lease,
  recorded: RecordedEntry,
): Promise<Grant> {
  const { governance, modelKeys, keyring } = context;
  const { request, binding, challenge } = admitted;
  const { entry, proof, leafHash } = recorded;
  const { manifestDigest, inferencePolicyDigest } = request.message;
  const { origin } = governance.state;
  const grantContext = { origin, manifestDigest, inferencePolicyDigest, lease, leafHash, binding };
  const wrapped = await modelKeys.withKey(manifestDigest, (modelKey) =>
    wrapModelKey(grantContext, request.agentKey, modelKey),
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
