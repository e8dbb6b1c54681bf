/**
 * The floors (RP-19): what holds for every grant whatever the release policy says. They are code, not policy, so that
 * loosening one takes a new release of this program and not a signature.
 */

import { deviceSetText, setsOfClasses } from '../../attestation/core/composite/device-set.ts';
import { defineRefusals, type Refusal } from '../../attestation/core/refusal.ts';
import { deviceSetsOf } from '../governance/device-sets.ts';
import type { DeviceClaims } from '../governance/entries.ts';
import { accreditationAt, foreignMachine, holdsOn, type GovernanceState } from '../governance/state.ts';
import type { ReleaseFacts } from './facts.ts';

export const floorRefusals = defineRefusals('unacceptable', {
  'floor-lab-not-accredited': {
    means: 'The lab has no accreditation that is in force.',
    hint: 'Ask the owner to sign an accreditation, or to extend the one that ended.',
  },
  'floor-model-not-registered': {
    means: 'No model version with this manifest is registered.',
    hint: 'Check that the bundle is the one that the owner published; the owner registers it by a model-version statement.',
  },
  'floor-phase-not-granting': {
    means: 'The model version is in a phase in which no key is given out.',
    hint: 'The owner has to promote the model version, and the release policy has to give leases in its phase.',
  },
  'floor-held': {
    means: 'A hold stops this lab, this model version or everything.',
    hint: 'This is final until a quorum lifts the hold. Stop using the model.',
  },
  'floor-inference-policy': {
    means: 'The inference policy is not the one that the model version was registered with.',
    hint: 'Use the inference policy that the owner published with this model version, unchanged.',
  },
  'floor-no-release-policy': {
    means: 'No release policy is in force, so nothing can be granted.',
    hint: 'The owner has to sign a release policy.',
  },
  'floor-device-missing': {
    means: 'The accepted devices are not those of a set that the release policy declares.',
    hint: 'Collect evidence from the devices of one of the named sets, and of no others.',
  },
  'floor-machine': {
    means: 'The machine is not, or no longer, in the accreditation of the lab.',
    hint: 'Ask the owner for an accreditation that names this machine; `weightgate agent identity` prints its digest.',
  },
  'floor-simulated': {
    means: 'A device is simulated, and this is a production server.',
    hint: 'Use real hardware here, or an evaluation server for simulated hardware.',
  },
});

/** @returns every floor that the request breaks; none when it may go on to the policy */
export function judgeFloors(
  state: GovernanceState,
  facts: ReleaseFacts,
  devices: readonly DeviceClaims[],
  at: number,
): readonly Refusal[] {
  return [
    ...judgeHolds(state, facts),
    ...judgeLab(state, facts, at),
    ...judgeMachines(state, facts, devices, at),
    ...judgeModel(state, facts),
    ...judgeReleasePolicy(state, devices),
    ...judgeSimulation(state, devices),
  ];
}

function judgeHolds(state: GovernanceState, { lab, manifestDigest }: ReleaseFacts): readonly Refusal[] {
  return holdsOn(state, { lab, manifestDigest }).map(({ target, person, payloadDigest }) =>
    floorRefusals.refusal('floor-held', {
      field: target.kind === 'all' ? 'server' : target.kind,
      expected: 'no hold',
      found: `hold ${payloadDigest} by ${person}`,
    }),
  );
}

function judgeLab(state: GovernanceState, { lab }: ReleaseFacts, at: number): readonly Refusal[] {
  if (accreditationAt(state, lab, at) !== undefined) return [];
  const ended = state.labs.get(lab)?.accreditation.endsAt;
  return [
    floorRefusals.refusal('floor-lab-not-accredited', {
      field: 'lab',
      expected: `an accreditation in force at ${at}`,
      found: ended === undefined ? `none for ${lab}` : `one that ended at ${ended}`,
    }),
  ];
}

/** A lab without an accreditation is refused for that, and not for each of its machines besides. */
function judgeMachines(
  state: GovernanceState,
  { lab }: ReleaseFacts,
  devices: readonly DeviceClaims[],
  at: number,
): readonly Refusal[] {
  if (accreditationAt(state, lab, at) === undefined) return [];
  const foreign = foreignMachine(state, lab, devices, at);
  if (foreign === undefined) return [];
  return [
    floorRefusals.refusal('floor-machine', {
      field: 'machine',
      expected: `a machine in the accreditation of ${lab}`,
      found: foreign,
    }),
  ];
}

function judgeModel(state: GovernanceState, facts: ReleaseFacts): readonly Refusal[] {
  const model = state.models.get(facts.manifestDigest);
  if (model === undefined) {
    return [
      floorRefusals.refusal('floor-model-not-registered', {
        field: 'manifestDigest',
        expected: 'the manifest digest of a registered model version',
        found: facts.manifestDigest,
      }),
    ];
  }
  const refusals: Refusal[] = [];
  const { phase, registration } = model;
  if (leaseSecondsOf(state, facts) === undefined) {
    refusals.push(
      floorRefusals.refusal('floor-phase-not-granting', {
        field: 'phase',
        expected: 'research or above, with leases in the release policy',
        found: phase,
      }),
    );
  }
  if (registration.inferencePolicyDigest !== facts.inferencePolicyDigest) {
    refusals.push(
      floorRefusals.refusal('floor-inference-policy', {
        field: 'inferencePolicyDigest',
        expected: registration.inferencePolicyDigest,
        found: facts.inferencePolicyDigest,
      }),
    );
  }
  return refusals;
}

/** How long a lease of this model version is now; undefined where none is given, and always while it is sealed. */
export function leaseSecondsOf(state: GovernanceState, facts: ReleaseFacts): number | undefined {
  const phase = state.models.get(facts.manifestDigest)?.phase;
  if (phase === undefined || phase === 'sealed') return undefined;
  return state.releasePolicy?.policy.leaseSeconds[phase];
}

function judgeReleasePolicy(state: GovernanceState, devices: readonly DeviceClaims[]): readonly Refusal[] {
  if (state.releasePolicy === null) {
    return [
      floorRefusals.refusal('floor-no-release-policy', {
        field: 'releasePolicy',
        expected: 'a release policy in force',
        found: 'none',
      }),
    ];
  }
  const deviceSets = deviceSetsOf(state.releasePolicy.policy);
  const accepted = devices.map((device) => device.class);
  if (setsOfClasses(deviceSets, accepted).length > 0) return [];
  return [
    floorRefusals.refusal('floor-device-missing', {
      field: 'evidence.devices',
      expected: deviceSets.map(deviceSetText).join(', or '),
      found: accepted.join(', ') || 'none',
    }),
  ];
}

function judgeSimulation(state: GovernanceState, devices: readonly DeviceClaims[]): readonly Refusal[] {
  if (state.mode === 'evaluation') return [];
  return devices
    .filter(({ simulated }) => simulated)
    .map((device) =>
      floorRefusals.refusal('floor-simulated', {
        field: `evidence.devices.${device.class}`,
        expected: 'hardware that is not simulated',
        found: 'simulated',
      }),
    );
}
