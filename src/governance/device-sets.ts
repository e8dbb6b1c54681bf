/** The sets of devices of a release policy (docs/spec/governance.md, section 4) in the form that the verifier takes. */

import type { DeviceSet } from '../../attestation/core/composite/device-set.ts';
import type { ReleasePolicy } from './predicates.ts';

/** A class name alone stands for one device of it, as the class's own appraisal policy lets it through. */
export function deviceSetsOf({ deviceSets }: Pick<ReleasePolicy, 'deviceSets'>): readonly DeviceSet[] {
  return deviceSets.map((set) =>
    set.map((demand) =>
      typeof demand === 'string' ? { class: demand, count: 1, models: 'any', devices: 'any' } : demand,
    ),
  );
}
