/** Getting collateral from the vendors' services, and keeping what holds. */

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readReport } from '../../attestation/sev-snp/layout.ts';
import type { ProductLine } from '../../attestation/sev-snp/product.ts';
import { AmdKds } from '../platform/collateral/amd-kds.ts';
import { NvidiaServices } from '../platform/collateral/nvidia-services.ts';
import type { ServiceOptions } from '../platform/collateral/service-client.ts';
import { sevSnpItems } from '../platform/collateral/sev-snp-collateral.ts';
import {
  collateralName,
  type AnyCollateralItem,
  type CollateralItem,
} from '../platform/collateral/source.ts';
import { onceEach, takeAll, type NvidiaWishes } from './collateral-nvidia.ts';
import { openCollateral, openNvidiaCollateral, type FolderOptions } from './collateral-shelves.ts';
import { readInput } from './evidence-files.ts';
import { usageRefusals } from './failure.ts';
import { print } from './options.ts';

export const collateralAbsentRefusals = defineRefusals('unavailable', {
  'collateral-absent': {
    means: 'Nobody has a piece of collateral that was asked for.',
    hint: 'Check that the report is of genuine hardware; a masked chip’s certificate has to come with its evidence.',
  },
});

export interface FetchOptions extends FolderOptions, NvidiaWishes {
  readonly report: readonly string[];
  readonly line: readonly ProductLine[];
  readonly kds: string;
  readonly kdsAuthority?: string;
  readonly rimService: string;
  readonly ocspResponder: string;
  readonly nras: string;
  readonly nvidiaAuthority?: string;
}

async function wantedItems({ report, line }: FetchOptions): Promise<readonly CollateralItem[]> {
  const none = { vcek: undefined, vlek: undefined, intermediate: undefined, ark: undefined };
  const ofReports = await Promise.all(
    report.map(async (path) =>
      sevSnpItems({ report: readReport(await readInput(path)), certificates: none }),
    ),
  );
  const ofLines = line.flatMap((known): readonly CollateralItem[] => [
    { kind: 'chain', line: known, signer: 'vcek' },
    { kind: 'chain', line: known, signer: 'vlek' },
    { kind: 'crl', line: known, signer: 'vcek' },
    { kind: 'crl', line: known, signer: 'vlek' },
  ]);
  return [...ofReports.flat(), ...ofLines];
}

/** @throws RefusalError `argument-invalid`, `collateral-absent`, and those of the services and checks */
export async function fetchCollateral(options: FetchOptions): Promise<void> {
  const items = await wantedItems(options);
  const { nvidiaGpu, nvswitch, rim, nrasKeys } = options;
  const hasNvidia = [...nvidiaGpu, ...nvswitch, ...rim].length > 0 || nrasKeys === true;
  if (items.length === 0 && !hasNvidia) {
    const expected = '--line, --rim, --nras-keys, or evidence that says what it needs';
    throw usageRefusals.error('argument-invalid', { field: 'fetch', expected, found: 'nothing to fetch' });
  }
  if (items.length > 0) await fetchFromAmd(items, options);
  if (hasNvidia) await fetchFromNvidia(options);
}

async function fetchFromAmd(items: readonly CollateralItem[], options: FetchOptions): Promise<void> {
  const { kds: address, kdsAuthority } = options;
  const upstream = new AmdKds({ address, ...(await authorityOf(kdsAuthority)) });
  const source = await openCollateral(options, upstream);
  for (const item of items) {
    if ((await source.find(item)) === undefined) throw absent(item);
    print(`kept  ${collateralName(item)}`);
  }
}

async function fetchFromNvidia(options: FetchOptions): Promise<void> {
  const { rimService: manifests, ocspResponder: ocsp, nras: attestation, nvidiaAuthority } = options;
  const addresses = { manifests, ocsp, attestation };
  const upstream = new NvidiaServices({ addresses, ...(await authorityOf(nvidiaAuthority)) });
  const find = onceEach(await openNvidiaCollateral(options, upstream), collateralName);
  const named = new Set<string>();
  await takeAll(options, async (item) => {
    const bytes = await find(item);
    if (bytes === undefined) throw absent(item);
    if (!named.has(collateralName(item))) print(`kept  ${collateralName(item)}`);
    named.add(collateralName(item));
    return bytes;
  });
}

async function authorityOf(path: string | undefined): Promise<Pick<ServiceOptions, 'authorityCertificate'>> {
  return path === undefined ? {} : { authorityCertificate: fromUtf8(await readInput(path), path) };
}

function absent(item: AnyCollateralItem): Error {
  return collateralAbsentRefusals.error('collateral-absent', {
    field: collateralName(item),
    expected: 'somebody who has it',
    found: 'nobody',
  });
}
