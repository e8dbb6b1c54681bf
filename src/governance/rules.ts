/**
 * What each kind of statement may change (docs/spec/governance.md section 4). `checkReferences` holds for every
 * signature, `takeEffect` for the one that completes the quorum.
 */

import type { LabAccreditation, ModelVersion, NamedPredicate, Promotion } from './predicates.ts';
import type { LoggedMoment } from './moment.ts';
import type { ReferenceValues, ReleasePolicy, Resume, StagedReferenceValues } from './predicates.ts';
import { issueOf, standingAt, type ReferenceIssue } from './reference-values.ts';
import { governanceRefusals } from './refusals.ts';
import { holdsOn, type Applied, type Effect, type GovernanceState } from './state.ts';
import type { SignedStatement } from './statements.ts';
import type { PhaseEdge } from './trust-root.ts';

type Change = Partial<GovernanceState>;

/**
 * Refuses at the first signature what cannot come right by waiting, so that nobody signs in vain.
 *
 * @throws RefusalError `governance-edge-missing`
 */
export function checkReferences(state: GovernanceState, named: NamedPredicate): void {
  if (named.name === 'promotion/v1') edgeOf(state, named.predicate);
}

/**
 * The state after a statement took effect.
 *
 * @param moment where the signature that completed the quorum stands; times are counted to there
 * @throws RefusalError `governance-*`
 */
export function takeEffect(
  state: GovernanceState,
  { named, person }: SignedStatement,
  moment: LoggedMoment,
): Applied {
  switch (named.name) {
    case 'lab-accreditation/v1':
      return accredit(state, named.predicate, moment);
    case 'model-version/v1':
      return register(state, named.predicate, moment);
    case 'promotion/v1':
      return promote(state, named.predicate, moment);
    case 'reference-values/v1':
    case 'reference-values/v2':
      return setReferenceValues(state, named.predicate, moment);
    case 'release-policy/v1':
      return setReleasePolicy(state, named.predicate, moment);
    case 'hold/v1': {
      const { target, reason } = named.predicate;
      const hold = { ...moment, target, reason, person: person.person };
      const holds = new Map(state.holds).set(moment.payloadDigest, hold);
      return changed(state, { holds }, { effect: 'held', target, hold: moment.payloadDigest });
    }
    case 'resume/v1':
      return lift(state, named.predicate);
  }
}

function changed(state: GovernanceState, change: Change, ...effects: readonly Effect[]): Applied {
  return { state: { ...state, ...change }, effects };
}

/** A new accreditation replaces the whole of the one before: what it leaves out has ended. */
function accredit(state: GovernanceState, accreditation: LabAccreditation, moment: LoggedMoment): Applied {
  const { lab, publicKeys, endsAt } = accreditation;
  if (endsAt <= moment.at) {
    throw governanceRefusals.error('governance-accreditation', {
      field: 'statement.predicate.endsAt',
      expected: `later than ${moment.at} (GV-25)`,
      found: String(endsAt),
    });
  }
  const inForce = state.labs.get(lab)?.accreditation;
  if (inForce !== undefined && accreditation.statedAt <= inForce.statedAt) {
    throw governanceRefusals.error('governance-accreditation', {
      field: 'statement.predicate.statedAt',
      expected: `later than ${inForce.statedAt}, that of the accreditation in force (GV-37)`,
      found: String(accreditation.statedAt),
    });
  }
  const taken = new Set([
    ...state.trustRoot.persons.flatMap((person) => person.publicKeys),
    ...[...state.labs.values()]
      .filter((other) => other.accreditation.lab !== lab)
      .flatMap((other) => other.accreditation.publicKeys),
  ]);
  const conflicting = publicKeys.find((key) => taken.has(key));
  if (conflicting !== undefined) {
    throw governanceRefusals.error('governance-key-taken', {
      field: 'statement.predicate.publicKeys',
      expected: 'keys that stand for nobody else (GV-26)',
      found: conflicting,
    });
  }
  const labs = new Map(state.labs).set(lab, { ...moment, accreditation });
  return changed(state, { labs }, { effect: 'lab-accredited', lab });
}

function register(state: GovernanceState, registration: ModelVersion, moment: LoggedMoment): Applied {
  const { model, version, variant, manifestDigest } = registration;
  const existing = [...state.models.values()].find(
    (other) =>
      other.registration.manifestDigest === manifestDigest ||
      (other.registration.model === model &&
        other.registration.version === version &&
        other.registration.variant === variant),
  );
  if (existing !== undefined) {
    throw governanceRefusals.error('governance-model-registered', {
      field: 'statement.predicate',
      expected: 'a manifest digest and a name that are new (GV-27)',
      found: `${model} ${version} ${variant}, ${existing.registration.manifestDigest}`,
    });
  }
  const entry = { registration, registered: moment, phase: 'sealed', phaseSince: moment } as const;
  const models = new Map(state.models).set(manifestDigest, entry);
  return changed(state, { models }, { effect: 'model-registered', manifestDigest });
}

function edgeOf(state: GovernanceState, { from, to }: Promotion): PhaseEdge {
  const edge = state.trustRoot.edges.find((candidate) => candidate.from === from && candidate.to === to);
  if (edge === undefined) {
    throw governanceRefusals.error('governance-edge-missing', {
      field: 'statement.predicate',
      expected: 'an edge of the trust root (GV-28)',
      found: `${from} to ${to}`,
    });
  }
  return edge;
}

function promote(state: GovernanceState, promotion: Promotion, moment: LoggedMoment): Applied {
  const { manifestDigest, from, to } = promotion;
  const model = state.models.get(manifestDigest);
  if (model === undefined) {
    throw governanceRefusals.error('governance-model-unknown', {
      field: 'statement.predicate.manifestDigest',
      expected: 'a registered model version (GV-28)',
      found: manifestDigest,
    });
  }
  if (model.phase !== from) {
    throw governanceRefusals.error('governance-phase-mismatch', {
      field: 'statement.predicate.from',
      expected: `${model.phase}, the phase it is in (GV-28)`,
      found: from,
    });
  }
  checkNotHeld(state, manifestDigest);
  const reviewedAt = model.phaseSince.at + edgeOf(state, promotion).reviewSeconds;
  if (moment.at < reviewedAt) {
    throw governanceRefusals.error('governance-review-open', {
      field: 'entry.at',
      expected: `at least ${reviewedAt}, when the review ends (GV-29)`,
      found: String(moment.at),
    });
  }
  const models = new Map(state.models).set(manifestDigest, { ...model, phase: to, phaseSince: moment });
  return changed(state, { models }, { effect: 'model-promoted', manifestDigest, to });
}

function checkNotHeld(state: GovernanceState, manifestDigest: string): void {
  const [hold] = holdsOn(state, { manifestDigest });
  if (hold !== undefined) {
    throw governanceRefusals.error('governance-held', {
      field: 'statement.predicate.manifestDigest',
      expected: 'a model version without a hold (GV-30)',
      found: `hold ${hold.payloadDigest} by ${hold.person}`,
    });
  }
}

function setReferenceValues(
  state: GovernanceState,
  predicate: ReferenceValues | StagedReferenceValues,
  moment: LoggedMoment,
): Applied {
  const reference = issueOf(predicate);
  const { deviceClass, name, epoch } = reference;
  const place = `${deviceClass}/${name}`;
  const standing = state.referenceValues.get(place) ?? [];
  checkEpoch(epoch, standing.at(-1)?.reference.epoch);
  checkValidity(reference, moment.at);
  const next = standingAt([...standing, { ...moment, reference }], moment.at);
  const referenceValues = new Map(state.referenceValues).set(place, next);
  return changed(state, { referenceValues }, { effect: 'reference-values-set', deviceClass, name });
}

function checkValidity({ validFrom, validUntil }: ReferenceIssue, at: number): void {
  const earliest = Math.max(validFrom, at);
  if (validUntil === null || validUntil > earliest) return;
  throw governanceRefusals.error('governance-reference-validity', {
    field: 'statement.predicate.validUntil',
    expected: `later than ${earliest} (GV-61)`,
    found: String(validUntil),
  });
}

function setReleasePolicy(state: GovernanceState, policy: ReleasePolicy, moment: LoggedMoment): Applied {
  checkEpoch(policy.epoch, state.releasePolicy?.policy.epoch);
  const releasePolicy = { ...moment, policy };
  return changed(state, { releasePolicy }, { effect: 'release-policy-set', epoch: policy.epoch });
}

function checkEpoch(epoch: number, inForce: number | undefined): void {
  if (inForce !== undefined && epoch <= inForce) {
    throw governanceRefusals.error('governance-epoch-stale', {
      field: 'statement.predicate.epoch',
      expected: `more than ${inForce} (GV-32)`,
      found: String(epoch),
    });
  }
}

/** Lifts the holds it names and no other: one that was logged meanwhile stays in force (GV-33). */
function lift(state: GovernanceState, { holds: lifted }: Resume): Applied {
  const holds = new Map(state.holds);
  const effects = lifted.map((digest): Effect => {
    const hold = holds.get(digest);
    if (hold === undefined) {
      throw governanceRefusals.error('governance-hold-unknown', {
        field: 'statement.predicate.holds',
        expected: 'holds that are in force, each once (GV-33)',
        found: digest,
      });
    }
    holds.delete(digest);
    return { effect: 'resumed', target: hold.target, hold: digest };
  });
  return changed(state, { holds }, ...effects);
}
