/** What a source has for GPUs and switches, under the names by which the verifier looks it up. */

import { isRefusal, type Refusal } from '../../../attestation/core/refusal.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { neededManifests, rimCollateralName } from '../../../attestation/nvidia-gpu/appraise.ts';
import { CHIP_FAMILIES } from '../../../attestation/nvidia-gpu/chips.ts';
import { readLeaf } from '../../../attestation/nvidia-gpu/device-certificates.ts';
import type { DeviceEvidence } from '../../../attestation/nvidia-gpu/evidence.ts';
import { NRAS_KEYS_NAME } from '../../../attestation/nvidia-gpu/nras/verify.ts';
import { ocspCollateralName } from '../../../attestation/nvidia-gpu/ocsp/appraise.ts';
import { readRim } from '../../../attestation/nvidia-gpu/rim/document.ts';
import { RIM_IDENTIFIER, type NvidiaItem, type OcspItem, type RimItem } from './nvidia-items.ts';
import type { GatheredCollateral } from './sev-snp-collateral.ts';
import type { CollateralSource } from './source.ts';

export interface NvidiaWants {
  /** Claimed by devices; nothing of it is verified yet. */
  readonly devices: readonly DeviceEvidence[];
  /** Whether the policy lets the remote attestation service vouch. */
  readonly serviceKeys: boolean;
}

/**
 * Asks for the manifests that the devices need, for what the issuers say of their certificates and of those of the
 * manifests, and for the service's keys. Devices decide no more than which of these fixed questions are asked; machines
 * with the same software ask the same ones, once.
 */
export async function gatherNvidiaCollateral(
  source: CollateralSource<NvidiaItem>,
  { devices, serviceKeys }: NvidiaWants,
): Promise<GatheredCollateral> {
  const gathering = new Gathering(source);
  for (const item of devices.flatMap(manifestsOf)) await gathering.addManifest(item);
  for (const { certificates } of devices) await gathering.addAnswers(answersAbout(certificates).slice(1));
  if (serviceKeys) await gathering.add(NRAS_KEYS_NAME, { kind: 'nras-keys' });
  return gathering;
}

class Gathering implements GatheredCollateral {
  readonly collateral = new Map<string, Uint8Array>();
  readonly failures: Refusal[] = [];
  private readonly source: CollateralSource<NvidiaItem>;
  private readonly asked = new Set<string>();

  constructor(source: CollateralSource<NvidiaItem>) {
    this.source = source;
  }

  /** What the source has; what several devices need is asked for once. */
  async add(name: string, item: NvidiaItem): Promise<Uint8Array | undefined> {
    if (this.asked.has(name)) return this.collateral.get(name);
    this.asked.add(name);
    try {
      const bytes = await this.source.find(item);
      if (bytes !== undefined) this.collateral.set(name, bytes);
      return bytes;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.failures.push(error.refusal);
      return undefined;
    }
  }

  async addManifest(item: RimItem): Promise<void> {
    const bytes = await this.add(rimCollateralName(item.identifier), item);
    if (bytes !== undefined) await this.addAnswers(answersAbout(readRim(bytes).signature.certificates));
  }

  async addAnswers(items: readonly OcspItem[]): Promise<void> {
    for (const item of items) {
      const [encoded] = item.chain;
      if (encoded !== undefined) await this.add(ocspCollateralName({ encoded }), item);
    }
  }
}

/** One answer about each certificate but the root. @param chain DER, from the leaf to the root */
export function answersAbout(chain: readonly Uint8Array[]): readonly OcspItem[] {
  return chain.slice(0, -1).map((_, i) => ({ kind: 'ocsp', chain: chain.slice(i) }));
}

/** None where the evidence contradicts itself, or names a chip that is not known: verification says so. */
export function manifestsOf({ report, certificates }: DeviceEvidence): readonly RimItem[] {
  try {
    const chip = claimedChip({ report, certificates });
    if (chip === undefined) return [];
    return neededManifests({ report, chip })
      .map(({ name }) => name.slice(rimCollateralName('').length))
      .filter((identifier) => RIM_IDENTIFIER.test(identifier))
      .map((identifier) => ({ kind: 'rim', identifier }));
  } catch (error) {
    if (isRefusal(error)) return [];
    throw error;
  }
}

function claimedChip({ report, certificates: [leaf] }: DeviceEvidence): string | undefined {
  if (report.kind === 'gpu' && report.fields.chipInfo !== undefined) return report.fields.chipInfo;
  if (leaf === undefined) return undefined;
  const { family } = readLeaf(readCertificate(leaf, 'chain[0]'), 'chain[0]');
  return CHIP_FAMILIES.find(({ name }) => name === family)?.unstatedChip;
}
