import { join } from 'node:path';

import { Option, type Command } from 'commander';

import { fromUtf8 } from '../../../attestation/core/bytes.ts';
import type { TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { defineRefusals, isRefusal } from '../../../attestation/core/refusal.ts';
import { amdAnchors } from '../../../attestation/sev-snp/anchors/amd-roots.ts';
import { readReport } from '../../../attestation/sev-snp/layout.ts';
import { PRODUCT_LINES, type ProductLine } from '../../../attestation/sev-snp/product.ts';
import { AmdKds, KDS_ADDRESS } from '../../platform/collateral/amd-kds.ts';
import { DirectoryStore } from '../../platform/collateral/directory-store.ts';
import { KeptCollateral } from '../../platform/collateral/kept-collateral.ts';
import { sevSnpCollateralCheck } from '../../platform/collateral/sev-snp-check.ts';
import { sevSnpItems } from '../../platform/collateral/sev-snp-collateral.ts';
import { collateralName, type CollateralItem } from '../../platform/collateral/source.ts';
import { collect } from '../arguments.ts';
import { readImportable } from '../collateral-import.ts';
import { readInput, readSimulatedRoots } from '../evidence-files.ts';
import { usageRefusals } from '../failure.ts';
import { print } from '../options.ts';

export const collateralAbsentRefusals = defineRefusals('unavailable', {
  'collateral-absent': {
    means: 'Nobody has a piece of collateral that was asked for.',
    hint: 'Check that the report is of genuine hardware; a masked chip’s certificate has to come with its evidence.',
  },
});

interface FolderOptions {
  readonly dir: string;
  readonly simulatedRoot: readonly string[];
}

interface FetchOptions extends FolderOptions {
  readonly report: readonly string[];
  readonly line: readonly ProductLine[];
  readonly kds: string;
  readonly kdsAuthority?: string;
}

async function openCollateral(
  options: FolderOptions,
  store = new DirectoryStore(options.dir),
  upstream?: AmdKds,
): Promise<KeptCollateral> {
  const simulated = await readSimulatedRoots(options.simulatedRoot);
  const anchors: readonly TrustAnchor[] = simulated.length > 0 ? simulated : amdAnchors;
  const check = sevSnpCollateralCheck(anchors);
  return new KeptCollateral({ store, check, ...(upstream === undefined ? {} : { upstream }) });
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

async function fetchCollateral(options: FetchOptions): Promise<void> {
  const items = await wantedItems(options);
  if (items.length === 0) {
    const expected = '--line, or --report with a report that names its processor';
    throw usageRefusals.error('argument-invalid', { field: 'fetch', expected, found: 'nothing to fetch' });
  }
  const { kdsAuthority } = options;
  const authority =
    kdsAuthority === undefined ? undefined : fromUtf8(await readInput(kdsAuthority), kdsAuthority);
  const upstream = new AmdKds({
    address: options.kds,
    ...(authority === undefined ? {} : { authorityCertificate: authority }),
  });
  const source = await openCollateral(options, new DirectoryStore(options.dir), upstream);
  for (const item of items) {
    if ((await source.find(item)) === undefined) throw absent(item);
    print(`kept  ${collateralName(item)}`);
  }
}

function absent(item: CollateralItem): Error {
  return collateralAbsentRefusals.error('collateral-absent', {
    field: collateralName(item),
    expected: 'somebody who has it',
    found: 'nobody',
  });
}

/** Chains first: what is below them is checked by them, in whatever order the files were named. */
async function importCollateral(paths: readonly string[], options: FolderOptions): Promise<void> {
  const target = await openCollateral(options);
  const read = (await Promise.all(paths.map(readImportable))).flat();
  const rank = ({ item }: (typeof read)[number]): number => (item.kind === 'chain' ? 0 : 1);
  for (const { item, bytes } of read.toSorted((left, right) => rank(left) - rank(right))) {
    if (!(await isWanted(target, item))) continue;
    await target.keep(item, bytes);
    print(`kept  ${collateralName(item)}`);
  }
}

/** A list is kept for the VCEKs of its root, and for the VLEKs where their chain is kept too. */
async function isWanted(source: KeptCollateral, item: CollateralItem): Promise<boolean> {
  if (item.kind !== 'crl' || item.signer === 'vcek') return true;
  return (await source.find({ kind: 'chain', line: item.line, signer: 'vlek' })) !== undefined;
}

interface ListedItem {
  readonly path: string;
  readonly holds: boolean;
  /** Why it would not be used. */
  readonly code: string | null;
}

async function examine(path: string, folder: string, source: KeptCollateral): Promise<ListedItem> {
  try {
    const items = await readImportable(join(folder, path));
    const own = items.find(({ item }) => path.startsWith(`${collateralName(item)}.`));
    if (own === undefined) return { path, holds: false, code: 'collateral-other' };
    await source.find(own.item);
    return { path, holds: true, code: null };
  } catch (error) {
    if (isRefusal(error)) return { path, holds: false, code: error.refusal.code };
    throw error;
  }
}

async function listCollateral(options: FolderOptions & { readonly json?: true }): Promise<void> {
  const store = new DirectoryStore(options.dir);
  const source = await openCollateral(options, store);
  const listed: ListedItem[] = [];
  for (const path of await store.list()) listed.push(await examine(path, options.dir, source));
  if (options.json === true) print(JSON.stringify(listed));
  else
    for (const { path, code } of listed)
      print(`${code === null ? 'holds' : 'no   '}  ${path}${code === null ? '' : ` [${code}]`}`);
}

function withFolder(command: Command): Command {
  return command
    .requiredOption('--dir <folder>', 'folder of certificates and revocation lists')
    .addOption(
      new Option(
        '--simulated-root <file>',
        'accept this root of simulated hardware in place of AMD’s; several times',
      )
        .argParser(collect)
        .default([], 'none'),
    );
}

const lineOption = new Option('--line <name>', 'chains and revocation lists of a product line; several times')
  .argParser((text: string, earlier: readonly ProductLine[]) => {
    const line = PRODUCT_LINES.find((known) => known === text);
    if (line !== undefined) return [...earlier, line];
    const facts = { field: '--line', expected: PRODUCT_LINES.join(', '), found: text };
    throw usageRefusals.error('argument-invalid', facts);
  })
  .default([], 'none');

/** `weightgate collateral fetch|import|list`: certificates and revocation lists that do not come with evidence. */
export function registerCollateral(program: Command): void {
  const collateral = program
    .command('collateral')
    .description('certificates and revocation lists that do not come with evidence');

  withFolder(collateral.command('fetch'))
    .description('get what is missing from AMD’s key distribution service')
    .addOption(
      new Option('--report <file>', 'everything for this report of SEV-SNP; several times')
        .argParser(collect)
        .default([], 'none'),
    )
    .addOption(lineOption)
    .option('--kds <url>', 'another address, such as a mirror', KDS_ADDRESS)
    .option('--kds-authority <file>', 'PEM of the only authority that the address is believed by')
    .action(fetchCollateral);

  withFolder(collateral.command('import'))
    .argument('<files...>', 'VCEK certificates, chains, revocation lists')
    .description('check files that somebody brought, and keep them')
    .action(importCollateral);

  withFolder(collateral.command('list'))
    .description('show what is kept, and whether it holds now')
    .option('--json', 'one JSON document in place of lines')
    .action(listCollateral);
}
