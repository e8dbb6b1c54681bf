/** What a server fetches for the devices of a bundle, and from which of its sources (docs/spec/collateral.md). */

import { setsOfClasses, type DeviceSet } from '../../attestation/core/composite/device-set.ts';
import type { ClaimedDevice } from '../../attestation/core/evidence.ts';
import { defineRefusals, type Refusal } from '../../attestation/core/refusal.ts';
import type { DeviceEvidence } from '../../attestation/nvidia-gpu/evidence.ts';
import { gatherNvidiaCollateral } from '../platform/collateral/nvidia-collateral.ts';
import type { NvidiaItem } from '../platform/collateral/nvidia-items.ts';
import {
  gatherRemoteResults,
  type NvidiaRemoteService,
} from '../platform/collateral/nvidia-remote-service.ts';
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
  'collateral-service-missing': {
    means:
      'The policy demands a result of the vendor’s attestation service, and this server has no address of it.',
    hint: 'Write collateral.nvidia.attestation into weightgate.yaml, or have the policy changed.',
  },
});

/** What the home keeps for each vendor, and where more of it comes from. */
export interface CollateralSources {
  /** Certificates and revocation lists for SEV-SNP. */
  readonly collateral: CollateralSource;
  /** Manifests and answers about certificates for GPUs and switches. */
  readonly nvidiaCollateral: CollateralSource<NvidiaItem>;
  /** Judges GPUs and switches itself. Without it no policy that demands its result can be met. */
  readonly nvidiaRemote?: Pick<NvidiaRemoteService, 'ask'>;
}

/** What the operator's documents say of a device that nothing is proven of yet. */
export interface DeviceStanding {
  /** Whether the policy takes devices of the class that nobody enrolled, or this one is enrolled. */
  readonly isKnown: (device: ClaimedDevice) => boolean;
  /** Whether the policy of the class demands a result of the vendor's attestation service. */
  readonly isJudgedRemotely: (device: ClaimedDevice) => boolean;
}

const SEV_SNP = 'sev-snp';
const NVIDIA: readonly string[] = ['nvidia-gpu', 'nvswitch'];

/**
 * Nothing is fetched for a machine that no set declares: it is refused before anything of it is verified (CM-12). Nor for a
 * device that is refused as a stranger anyway: a vendor learns of none but those that the operator knows (CO-11).
 */
export async function gatherCollateral(
  sources: CollateralSources,
  claimed: readonly ClaimedDevice[],
  deviceSets: readonly DeviceSet[],
  { isKnown, isJudgedRemotely }: DeviceStanding,
): Promise<GatheredCollateral> {
  const classes = claimed.map(({ deviceClass }) => deviceClass.name);
  if (setsOfClasses(deviceSets, classes).length === 0) return { collateral: new Map(), failures: [] };
  const fetched = claimed.filter(({ deviceClass: { name } }) => name === SEV_SNP || NVIDIA.includes(name));
  const { collateral, failures } = await gatherKnown(sources, fetched.filter(isKnown), isJudgedRemotely);
  const strangers = fetched.filter((device) => !isKnown(device)).map(notAsked);
  return { collateral, failures: [...failures, ...strangers] };
}

function notAsked({ deviceClass: { name }, identity }: ClaimedDevice): Refusal {
  const facts = { field: name, expected: 'a device that is enrolled', found: identity };
  return serverCollateralRefusals.refusal('collateral-not-asked', facts);
}

async function gatherKnown(
  sources: CollateralSources,
  claimed: readonly ClaimedDevice[],
  isJudgedRemotely: DeviceStanding['isJudgedRemotely'],
): Promise<GatheredCollateral> {
  const { collateral, nvidiaCollateral } = sources;
  const gathered: GatheredCollateral[] = [];
  const processor = claimed.find(({ deviceClass }) => deviceClass.name === SEV_SNP);
  if (processor !== undefined) {
    gathered.push(await gatherSevSnpCollateral(collateral, processor.evidence as ClaimedReport));
  }
  const ofNvidia = claimed.filter(({ deviceClass }) => NVIDIA.includes(deviceClass.name));
  const remote = ofNvidia.filter(isJudgedRemotely).map(nvidiaEvidence);
  if (ofNvidia.length > 0) {
    const wants = { devices: ofNvidia.map(nvidiaEvidence), serviceKeys: remote.length > 0 };
    gathered.push(await gatherNvidiaCollateral(nvidiaCollateral, wants));
  }
  if (remote.length > 0) gathered.push(await gatherRemote(sources, remote));
  return {
    collateral: new Map(gathered.flatMap((one) => [...one.collateral])),
    failures: gathered.flatMap((one): readonly Refusal[] => one.failures),
  };
}

function nvidiaEvidence({ evidence }: ClaimedDevice): DeviceEvidence {
  return evidence as DeviceEvidence;
}

async function gatherRemote(
  { nvidiaRemote }: CollateralSources,
  devices: readonly DeviceEvidence[],
): Promise<GatheredCollateral> {
  if (nvidiaRemote !== undefined) return await gatherRemoteResults(nvidiaRemote, devices);
  const facts = { field: 'collateral.nvidia.attestation', expected: 'an address', found: 'none' };
  return {
    collateral: new Map(),
    failures: [serverCollateralRefusals.refusal('collateral-service-missing', facts)],
  };
}
