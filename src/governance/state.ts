/** The state of governance: what the log, read from its first entry, has made true. A value; nothing changes it. */

import type { CustodyEntry, CustodyProviderName, DeviceClaims } from './entries.ts';
import type { Mode, Phase } from './fields.ts';
import type {
  HoldTarget,
  LabAccreditation,
  ModelVersion,
  NamedPredicate,
  PredicateName,
  ReleasePolicy,
} from './predicates.ts';
import type { LoggedMoment } from './moment.ts';
import type { StandingReferenceValues } from './reference-values.ts';
import type { TrustRoot } from './trust-root.ts';

export type { LoggedMoment } from './moment.ts';
export { referenceValuesDigestOf, referenceValuesFor } from './reference-values.ts';

interface LabState extends LoggedMoment {
  readonly accreditation: LabAccreditation;
}

interface ModelState {
  readonly registration: ModelVersion;
  readonly registered: LoggedMoment;
  readonly phase: Phase;
  /** Since when it is in this phase; its review for the next one counts from here. */
  readonly phaseSince: LoggedMoment;
}

export interface HoldState extends LoggedMoment {
  readonly target: HoldTarget;
  readonly person: string;
  readonly reason: string;
}

interface ReleasePolicyState extends LoggedMoment {
  readonly policy: ReleasePolicy;
}

/** A statement that waits for its quorum. */
export interface PendingStatement {
  readonly named: NamedPredicate;
  readonly payloadDigest: string;
  /** When its first signature was logged; it lapses from there. */
  readonly openedAt: number;
  /** Persons who signed, with the index of the entry of each. */
  readonly signedBy: ReadonlyMap<string, number>;
}

interface EnrolmentState {
  readonly index: number;
  readonly at: number;
  readonly lab: string;
  readonly endorsementKeyDigest: string;
  readonly endorsementCertificateDigest: string;
  readonly simulated: boolean;
}

/** Who holds the wrapping keys of the server, by what it logged. */
export interface CustodyState {
  /** How many events were logged: the sequence of the next one. */
  readonly events: number;
  /** By number: those that were opened and have not ended. */
  readonly open: ReadonlyMap<number, OpenCustodyState>;
  /** The highest number that was opened. */
  readonly lastNumber: number;
}

export interface OpenCustodyState {
  readonly provider: CustodyProviderName;
  /** Identifiers of the wrapping keys that are not retired, the current one last. */
  readonly wrappingKeys: readonly string[];
}

/** Whether the servers of the log are alive, by what they logged. */
export interface HeartbeatState {
  /** The newest heartbeat, of whichever run. */
  readonly last: { readonly index: number; readonly at: number; readonly intervalSeconds: number } | null;
  /** Decisions that were logged since. */
  readonly decisions: { readonly granted: number; readonly refused: number };
  /** By run: those that were heard lately. */
  readonly runs: ReadonlyMap<string, RunState>;
  /** The longest time between two heartbeats, in POSIX seconds (GV-87). */
  readonly longestSilence: { readonly from: number; readonly until: number } | null;
}

/** One run of a server. */
export interface RunState {
  readonly startedAt: number;
  /** Time of its newest heartbeat. */
  readonly at: number;
}

export interface GovernanceState {
  readonly origin: string;
  readonly mode: Mode;
  /** Verifier key of the log, as in its signed notes. */
  readonly logKey: string;
  readonly trustRoot: TrustRoot;
  /** How many entries were applied: the index of the next one. */
  readonly size: number;
  /** Time of the last entry. */
  readonly at: number;
  /** By lab. */
  readonly labs: ReadonlyMap<string, LabState>;
  /** By manifest digest. */
  readonly models: ReadonlyMap<string, ModelState>;
  /** By payload digest of the hold statement: those in force. */
  readonly holds: ReadonlyMap<string, HoldState>;
  readonly referenceValues: StandingReferenceValues;
  readonly releasePolicy: ReleasePolicyState | null;
  /** By payload digest. */
  readonly pending: ReadonlyMap<string, PendingStatement>;
  /** Payload digests of all statements that took effect. */
  readonly settled: ReadonlySet<string>;
  /** By attestation key name, lower-case hex. */
  readonly enrolments: ReadonlyMap<string, EnrolmentState>;
  readonly custody: CustodyState;
  readonly heartbeats: HeartbeatState;
}

/** What one entry brought about. */
export type Effect =
  | {
      readonly effect: 'signature-counted';
      readonly predicate: PredicateName;
      readonly payloadDigest: string;
      readonly person: string;
      readonly persons: number;
      readonly needed: number;
    }
  | { readonly effect: 'lab-accredited'; readonly lab: string }
  | { readonly effect: 'model-registered'; readonly manifestDigest: string }
  | { readonly effect: 'model-promoted'; readonly manifestDigest: string; readonly to: Phase }
  | { readonly effect: 'reference-values-set'; readonly deviceClass: string; readonly name: string }
  | { readonly effect: 'release-policy-set'; readonly epoch: number }
  | { readonly effect: 'held'; readonly target: HoldTarget; readonly hold: string }
  | { readonly effect: 'resumed'; readonly target: HoldTarget; readonly hold: string }
  | {
      readonly effect: 'custody-changed';
      readonly event: CustodyEntry['event'];
      readonly provider: CustodyProviderName;
    }
  | { readonly effect: 'silence-ended'; readonly seconds: number }
  | { readonly effect: 'machine-enrolled'; readonly lab: string; readonly attestationKeyName: string };

/** An entry was applied: the state after it, and what it brought about. */
export interface Applied {
  readonly state: GovernanceState;
  readonly effects: readonly Effect[];
}

/** The accreditation that is in force at a time, or undefined. It ends at `endsAt` sharp. */
export function accreditationAt(
  state: GovernanceState,
  lab: string,
  at: number,
): LabAccreditation | undefined {
  const accreditation = state.labs.get(lab)?.accreditation;
  return accreditation !== undefined && at < accreditation.endsAt ? accreditation : undefined;
}

/** Whether an accreditation names the TPM of an endorsement key. @param endorsementKeyDigest lower-case hex */
export function namesTpm(
  accreditation: LabAccreditation | undefined,
  endorsementKeyDigest: string | undefined,
): boolean {
  const machines = accreditation?.machines ?? [];
  return machines.some(
    (machine) => 'endorsementKeyDigest' in machine && machine.endorsementKeyDigest === endorsementKeyDigest,
  );
}

/** Whether an accreditation names a device of another class. @param identity lower-case hex, as evidence proves it */
export function namesDevice(
  accreditation: LabAccreditation | undefined,
  deviceClass: string,
  identity: string,
): boolean {
  const machines = accreditation?.machines ?? [];
  return machines.some(
    (machine) =>
      'identity' in machine && machine.deviceClass === deviceClass && machine.identity === identity,
  );
}

/**
 * The first device that is no machine of the lab's accreditation in force: one that the quorum struck from it, or one
 * of another lab (GV-49). A TPM is known by the enrolment of its attestation key, any other device by its identity.
 *
 * @returns what names it, or undefined when every device may be granted to
 */
export function foreignMachine(
  state: GovernanceState,
  lab: string,
  devices: readonly DeviceClaims[],
  at: number,
): string | undefined {
  const accreditation = accreditationAt(state, lab, at);
  const foreign = devices.find((device) => {
    if (device.class !== 'tpm') return !namesDevice(accreditation, device.class, nameIn(device, 'identity'));
    const enrolment = state.enrolments.get(nameIn(device, 'akName'));
    return enrolment?.lab !== lab || !namesTpm(accreditation, enrolment.endorsementKeyDigest);
  });
  if (foreign === undefined) return undefined;
  return foreign.class === 'tpm'
    ? `attestation key ${nameIn(foreign, 'akName')}`
    : `${foreign.class} ${nameIn(foreign, 'identity')}`;
}

/** A name out of logged claims; one that no device has where there is none. */
function nameIn({ claims }: DeviceClaims, member: 'akName' | 'identity'): string {
  const name = (claims as Readonly<Record<string, unknown>>)[member];
  return typeof name === 'string' ? name : 'without a name';
}

/** The holds in force that stop a lab, a model version or everything. */
export function holdsOn(
  state: GovernanceState,
  {
    lab,
    manifestDigest,
  }: { readonly lab?: string | undefined; readonly manifestDigest?: string | undefined },
): readonly HoldState[] {
  return [...state.holds.values()].filter(({ target }) => {
    if (target.kind === 'all') return true;
    return target.id === (target.kind === 'lab' ? lab : manifestDigest);
  });
}

/** `releasePolicyDigest` of a decision (GV-31): the payload digest of the release-policy statement in force. */
export function releasePolicyDigestOf(state: GovernanceState): string | null {
  return state.releasePolicy?.payloadDigest ?? null;
}
