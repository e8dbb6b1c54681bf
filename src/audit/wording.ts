/** What persons stated and what came of it, in words. Text that somebody else wrote is made legible. */

import type { HoldTarget, NamedPredicate } from '../governance/predicates.ts';
import type { Effect, GovernanceState } from '../governance/state.ts';
import { legible } from '../platform/legible.ts';

type Known = GovernanceState | undefined;

/** A model version by its name where the log has registered it, otherwise by its manifest. */
export function modelName(manifestDigest: string, state: Known): string {
  const registration = state?.models.get(manifestDigest)?.registration;
  if (registration === undefined) return `model ${manifestDigest.slice(0, 16)}`;
  return `${registration.model} ${registration.version}`;
}

function targetName({ kind, id }: HoldTarget, state: Known): string {
  if (kind === 'all') return 'everything';
  return kind === 'lab' ? `lab ${id}` : modelName(id, state);
}

function heldTarget(hold: string, state: Known): string {
  const target = state?.holds.get(hold)?.target;
  return target === undefined ? `hold ${hold.slice(0, 16)}` : targetName(target, state);
}

function dateOf(posixSeconds: number): string {
  const milliseconds = posixSeconds * 1000;
  // A signed time may lie beyond what a date can say.
  return milliseconds <= 8.64e15 ? new Date(milliseconds).toISOString().slice(0, 10) : `${posixSeconds} s`;
}

/** What a statement is about and why. @param state before it, by which names are looked up */
export function describeStatement(named: NamedPredicate, state: Known): string {
  switch (named.name) {
    case 'lab-accreditation/v1': {
      const { lab, organisation, jurisdiction, machines, endsAt } = named.predicate;
      const who = `${lab} (${legible(organisation)}, ${jurisdiction})`;
      return `accredit ${who} with ${machines.length} machines until ${dateOf(endsAt)}`;
    }
    case 'model-version/v1': {
      const { model, version, variant, manifestDigest } = named.predicate;
      return `register ${model} ${version} (${variant}) as manifest ${manifestDigest.slice(0, 16)}`;
    }
    case 'promotion/v1': {
      const { manifestDigest, from, to, reason } = named.predicate;
      return `promote ${modelName(manifestDigest, state)} from ${from} to ${to}: ${legible(reason)}`;
    }
    case 'reference-values/v1': {
      const { deviceClass, name, epoch } = named.predicate;
      return `set reference values ${deviceClass}/${name}, epoch ${epoch}`;
    }
    case 'reference-values/v2': {
      const { deviceClass, name, epoch, owner, validFrom, validUntil, rolloutPercent } = named.predicate;
      const when = `from ${dateOf(validFrom)} until ${dateOf(validUntil)}`;
      const what = `set reference values ${deviceClass}/${name}, epoch ${epoch}, of ${legible(owner)}`;
      return `${what}, ${when}, for ${rolloutPercent} % of the machines`;
    }
    case 'release-policy/v1':
      return `set the release policy, epoch ${named.predicate.epoch}`;
    case 'hold/v1':
      return `hold ${targetName(named.predicate.target, state)}: ${legible(named.predicate.reason)}`;
    case 'resume/v1': {
      const { holds, reason } = named.predicate;
      return `resume ${holds.map((hold) => heldTarget(hold, state)).join(', ')}: ${legible(reason)}`;
    }
  }
}

/** What an entry brought about. @param state before it, by which names are looked up */
export function describeEffect(effect: Effect, state: Known): string {
  switch (effect.effect) {
    case 'signature-counted':
      return `signature ${effect.persons} of ${effect.needed}`;
    case 'lab-accredited':
      return `lab ${effect.lab} accredited`;
    case 'model-registered':
      return `model ${effect.manifestDigest.slice(0, 16)} registered`;
    case 'model-promoted':
      return `${modelName(effect.manifestDigest, state)} is in phase ${effect.to}`;
    case 'reference-values-set':
      return `reference values ${effect.deviceClass}/${effect.name} in force`;
    case 'release-policy-set':
      return `release policy epoch ${effect.epoch} in force`;
    case 'held':
      return `${targetName(effect.target, state)} held as ${effect.hold}`;
    case 'resumed':
      return `${targetName(effect.target, state)} resumed`;
    case 'custody-changed':
      return `wrapping keys by ${effect.provider}: ${effect.event}`;
    case 'silence-ended':
      return `no heartbeat for ${effect.seconds} s before`;
    case 'machine-enrolled':
      return `attestation key ${effect.attestationKeyName.slice(0, 20)} enrolled`;
  }
}
