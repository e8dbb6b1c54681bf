/** Changes of governance to think through (docs/spec/replay.md, RD-12): each makes another state out of one of the log. */

import { equalBytes } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import type { LoggedMoment } from '../governance/moment.ts';
import type { Machine, ReleasePolicy } from '../governance/predicates.ts';
import type {
  ReferenceIssue,
  ReferenceValuesState,
  StandingReferenceValues,
} from '../governance/reference-values.ts';
import type { GovernanceState } from '../governance/state.ts';

/** One change. @returns the very state that it was given where there is nothing to change */
export interface StateChange {
  /** What it does, for people. */
  readonly text: string;
  readonly apply: (state: GovernanceState) => GovernanceState;
}

/** Nobody has signed what is only thought of. */
const NEVER_LOGGED: LoggedMoment = { index: -1, at: 0, payloadDigest: '0'.repeat(64) };

/** Another release policy, from the first decision on. */
export function withPolicy(policy: ReleasePolicy): StateChange {
  return {
    text: `release policy of epoch ${policy.epoch}`,
    apply: (state) => ({ ...state, releasePolicy: { ...NEVER_LOGGED, policy } }),
  };
}

/** Other values wherever these stand, whoever has stated them and under whatever name. */
export function withValuesReplaced(deviceClass: string, old: JsonValue, next: JsonValue): StateChange {
  const isOld = ({ reference }: ReferenceValuesState): boolean =>
    reference.deviceClass === deviceClass &&
    equalBytes(encodeCanonicalJson(reference.values), encodeCanonicalJson(old));
  const replaced = (standing: ReferenceValuesState): ReferenceValuesState =>
    isOld(standing) ? { ...standing, reference: { ...standing.reference, values: next } } : standing;
  return {
    text: `other reference values of ${deviceClass}`,
    apply: (state) => {
      const standing = [...state.referenceValues];
      if (!standing.some(([, states]) => states.some(isOld))) return state;
      const referenceValues = new Map(standing.map(([place, states]) => [place, states.map(replaced)]));
      return { ...state, referenceValues };
    },
  };
}

/** One more statement of reference values, as though it had been there from the beginning. */
export function withValuesAdded(issue: ReferenceIssue): StateChange {
  const { deviceClass, name } = issue;
  const place = `${deviceClass}/${name}`;
  const reference = { ...issue, validFrom: 0, validUntil: null };
  return {
    text: `reference values ${place} of epoch ${issue.epoch}`,
    apply: (state) => {
      const earlier = (state.referenceValues.get(place) ?? []).filter(
        (standing) => standing.reference.epoch < issue.epoch,
      );
      const states = [...earlier, { ...NEVER_LOGGED, reference }];
      return { ...state, referenceValues: new Map(state.referenceValues).set(place, states) };
    },
  };
}

/** @param place `class/name` */
export function withoutReference(place: string): StateChange {
  return {
    text: `without reference values ${place}`,
    apply: (state) => {
      if (!state.referenceValues.has(place)) return state;
      const others = [...state.referenceValues].filter(([name]) => name !== place);
      const referenceValues: StandingReferenceValues = new Map(others);
      return { ...state, referenceValues };
    },
  };
}

export function withoutLab(lab: string): StateChange {
  return {
    text: `without lab ${lab}`,
    apply: (state) => {
      const known = state.labs.get(lab);
      if (known === undefined) return state;
      // Its keys stay: what it signed is still judged, and refused.
      const accreditation = { ...known.accreditation, endsAt: 0 };
      return { ...state, labs: new Map(state.labs).set(lab, { ...known, accreditation }) };
    },
  };
}

/** @param manifestDigest lower-case hex */
export function withModelHeld(manifestDigest: string): StateChange {
  return {
    text: `with a hold on model ${manifestDigest}`,
    apply: (state) => {
      if (!state.models.has(manifestDigest)) return state;
      const target = { kind: 'model', id: manifestDigest } as const;
      const hold = { ...NEVER_LOGGED, target, person: 'nobody', reason: 'only thought of' };
      return { ...state, holds: new Map(state.holds).set(NEVER_LOGGED.payloadDigest, hold) };
    },
  };
}

/** @param name of the machine in accreditations, digest of its endorsement key, or identity of a device */
export function withoutMachine(name: string): StateChange {
  const isStruck = (machine: Machine): boolean =>
    machine.name === name || Object.values(machine).includes(name);
  return {
    text: `without machine ${name}`,
    apply: (state) => {
      const labs = [...state.labs];
      if (!labs.some(([, { accreditation }]) => accreditation.machines.some(isStruck))) return state;
      const struck = labs.map(([lab, known]) => {
        const machines = known.accreditation.machines.filter((machine) => !isStruck(machine));
        return [lab, { ...known, accreditation: { ...known.accreditation, machines } }] as const;
      });
      return { ...state, labs: new Map(struck) };
    },
  };
}
