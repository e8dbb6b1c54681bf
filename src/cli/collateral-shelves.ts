/** A folder of collateral, opened for the items of each vendor. */

import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { amdAnchors } from '../../attestation/sev-snp/anchors/amd-roots.ts';
import { DirectoryStore } from '../platform/collateral/directory-store.ts';
import { KeptCollateral } from '../platform/collateral/kept-collateral.ts';
import { nvidiaCollateralCheck } from '../platform/collateral/nvidia-check.ts';
import type { NvidiaItem } from '../platform/collateral/nvidia-items.ts';
import { sevSnpCollateralCheck } from '../platform/collateral/sev-snp-check.ts';
import { collateralName, type CollateralSource } from '../platform/collateral/source.ts';
import { readNvidiaAnchors, type NvidiaRoots } from './collateral-nvidia.ts';
import { readSimulatedRoots } from './evidence-files.ts';
import { print } from './options.ts';

export interface FolderOptions extends NvidiaRoots {
  readonly dir: string;
}

/** @param upstream who is asked for what is not kept */
export async function openCollateral(
  options: FolderOptions,
  upstream?: CollateralSource,
): Promise<KeptCollateral> {
  const simulated = await readSimulatedRoots(options.simulatedRoot);
  const anchors: readonly TrustAnchor[] = simulated.length > 0 ? simulated : amdAnchors;
  const check = sevSnpCollateralCheck(anchors);
  const store = new DirectoryStore(options.dir);
  return new KeptCollateral({ store, check, ...(upstream === undefined ? {} : { upstream }) });
}

/** An issue that takes the place of another is told of: its values may differ. */
export async function openNvidiaCollateral(
  options: FolderOptions,
  upstream?: CollateralSource<NvidiaItem>,
): Promise<KeptCollateral<NvidiaItem>> {
  return new KeptCollateral({
    store: new DirectoryStore(options.dir),
    check: nvidiaCollateralCheck(await readNvidiaAnchors(options)),
    onKept: (item, keeping) => {
      if (item.kind === 'rim' && keeping === 'replaced') print(`other issue of  ${collateralName(item)}`);
    },
    ...(upstream === undefined ? {} : { upstream }),
  });
}
