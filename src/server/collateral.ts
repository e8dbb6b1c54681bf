/** What a server fetches for the devices of a bundle, and from which of its sources (docs/spec/collateral.md). */

import { setsOfClasses, type DeviceSet } from '../../attestation/core/composite/device-set.ts';
import type { ClaimedDevice } from '../../attestation/core/evidence.ts';
import { defineRefusals, type Refusal } from '../../attestation/core/refusal.ts';
import type { DeviceEvidence } from '../../attestation/nvidia-gpu/evidence.ts';
import { gatherNvidiaCollateral } from '../platform/collateral/nvidia-collateral.ts';
import type { NvidiaItem } from '../platform/collateral/nvidia-items.ts';
import {
  gatherSevSnpCollateral,
  type ClaimedReport,
  type GatheredCollateral,
} from '../platform/collateral/sev-snp-collateral.ts';
import type { CollateralSource } from '../platform/collateral/source.ts';

export const serverCollateralRefusals = defineRefusals('unavailable', {
  'collateral-not-asked': {
    means: 'Nothing was asked of a vendor about a device that this server does not know.',
    hint: 'Have the machine accredited for the lab by its identity, or send its certificates along.',
  },
});

/** What the home keeps for each vendor, and where more of it comes from. */
export interface CollateralSources {
  /** Certificates and revocation lists for SEV-SNP. */
  readonly collateral: CollateralSource;
  /** Manifests and answers about certificates for GPUs and switches. */
  readonly nvidiaCollateral: CollateralSource<NvidiaItem>;
}

const SEV_SNP = 'sev-snp';
const NVIDIA: readonly string[] = ['nvidia-gpu', 'nvswitch'];

/**
 * Nothing is fetched for a machine that no set declares: it is refused before anything of it is verified (CM-12). Nor for a
 * device that is refused as a stranger anyway: a vendor learns of none but those that the operator knows (CO-11).
 *
 * @param isKnown whether the policy takes devices of the class that nobody enrolled, or this one is enrolled
 */
export async function gatherCollateral(
  sources: CollateralSources,
  claimed: readonly ClaimedDevice[],
  deviceSets: readonly DeviceSet[],
  isKnown: (device: ClaimedDevice) => boolean,
): Promise<GatheredCollateral> {
  const classes = claimed.map(({ deviceClass }) => deviceClass.name);
  if (setsOfClasses(deviceSets, classes).length === 0) return { collateral: new Map(), failures: [] };
  const fetched = claimed.filter(({ deviceClass: { name } }) => name === SEV_SNP || NVIDIA.includes(name));
  const { collateral, failures } = await gatherKnown(sources, fetched.filter(isKnown));
  const strangers = fetched.filter((device) => !isKnown(device)).map(notAsked);
  return { collateral, failures: [...failures, ...strangers] };
}

function notAsked({ deviceClass: { name }, identity }: ClaimedDevice): Refusal {
  const facts = { field: name, expected: 'a device that is enrolled', found: identity };
  return serverCollateralRefusals.refusal('collateral-not-asked', facts);
}

async function gatherKnown(
  { collateral, nvidiaCollateral }: CollateralSources,
  claimed: readonly ClaimedDevice[],
): Promise<GatheredCollateral> {
  const gathered: GatheredCollateral[] = [];
  const processor = claimed.find(({ deviceClass }) => deviceClass.name === SEV_SNP);
  if (processor !== undefined) {
    gathered.push(await gatherSevSnpCollateral(collateral, processor.evidence as ClaimedReport));
  }
  const devices = claimed
    .filter(({ deviceClass }) => NVIDIA.includes(deviceClass.name))
    .map(({ evidence }) => evidence as DeviceEvidence);
  if (devices.length > 0) {
    gathered.push(await gatherNvidiaCollateral(nvidiaCollateral, { devices, serviceKeys: false }));
  }
  return {
    collateral: new Map(gathered.flatMap((one) => [...one.collateral])),
    failures: gathered.flatMap((one): readonly Refusal[] => one.failures),
  };
}
