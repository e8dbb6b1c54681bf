import { join } from 'node:path';

import { Option, type Command } from 'commander';

import { isRefusal, type RefusalError } from '../../../attestation/core/refusal.ts';
import { PRODUCT_LINES, type ProductLine } from '../../../attestation/sev-snp/product.ts';
import { KDS_ADDRESS } from '../../platform/collateral/amd-kds.ts';
import { DirectoryStore } from '../../platform/collateral/directory-store.ts';
import type { KeptCollateral } from '../../platform/collateral/kept-collateral.ts';
import { RIM_IDENTIFIER, type NvidiaItem } from '../../platform/collateral/nvidia-items.ts';
import { NVIDIA_ADDRESSES } from '../../platform/collateral/nvidia-services.ts';
import { collateralName, type CollateralItem } from '../../platform/collateral/source.ts';
import { collect } from '../arguments.ts';
import { fetchCollateral } from '../collateral-fetch.ts';
import { readImportable } from '../collateral-import.ts';
import { listCollateral } from '../collateral-list.ts';
import { readNvidiaImportable } from '../collateral-nvidia.ts';
import { openCollateral, openNvidiaCollateral, type FolderOptions } from '../collateral-shelves.ts';
import { usageRefusals } from '../failure.ts';
import { print } from '../options.ts';

/** Chains first: what is below them is checked by them, in whatever order the files were named. */
async function importCollateral(named: readonly string[], options: FolderOptions): Promise<void> {
  const paths = (await Promise.all(named.map(filesOf))).flat();
  const nvidia = await openNvidiaCollateral(options);
  const failures: RefusalError[] = [];
  const others: string[] = [];
  for (const path of paths) {
    const outcome = await importForNvidia(path, nvidia);
    if (outcome === 'not-nvidia') others.push(path);
    else if (outcome !== 'kept') failures.push(outcome);
  }
  await importForAmd(others, options);
  const [first] = failures;
  if (first !== undefined) throw first;
}

/** What does not hold is told of and left out: a folder that was copied some time ago has answers that are stale by now. */
async function importForNvidia(
  path: string,
  target: KeptCollateral<NvidiaItem>,
): Promise<'kept' | 'not-nvidia' | RefusalError> {
  try {
    const importable = await readNvidiaImportable(path);
    if (importable === undefined) return 'not-nvidia';
    await target.keep(importable.item, importable.bytes);
    print(`kept  ${collateralName(importable.item)}`);
    return 'kept';
  } catch (error) {
    if (!isRefusal(error)) throw error;
    print(`no    ${path} [${error.refusal.code}]`);
    return error;
  }
}

/** A folder of collateral stands for all that is in it. */
async function filesOf(path: string): Promise<readonly string[]> {
  const inside = await new DirectoryStore(path).list();
  return inside.length === 0 ? [path] : inside.map((name) => join(path, name));
}

async function importForAmd(paths: readonly string[], options: FolderOptions): Promise<void> {
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
    )
    .addOption(
      severalOption(
        '--simulated-manifest-root <file>',
        'accept this root of manifests for simulated GPUs; several times',
      ),
    );
}

function severalOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(collect).default([], 'none');
}

const rimOption = new Option('--rim <id>', 'the manifest of this identifier; several times')
  .argParser((text: string, earlier: readonly string[]) => {
    if (RIM_IDENTIFIER.test(text)) return [...earlier, text];
    const facts = {
      field: '--rim',
      expected: 'an identifier such as NV_GPU_DRIVER_GH100_550.90.07',
      found: text,
    };
    throw usageRefusals.error('argument-invalid', facts);
  })
  .default([], 'none');

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
    .description('get what is missing from the services of AMD and NVIDIA')
    .addOption(severalOption('--report <file>', 'everything for this report of SEV-SNP; several times'))
    .addOption(lineOption)
    .option('--kds <url>', 'another address, such as a mirror', KDS_ADDRESS)
    .option('--kds-authority <file>', 'PEM of the only authority that the address is believed by')
    .addOption(
      severalOption('--nvidia-gpu <file>', 'everything for the evidence of these GPUs; several times'),
    )
    .addOption(
      severalOption('--nvswitch <file>', 'everything for the evidence of these switches; several times'),
    )
    .addOption(rimOption)
    .option('--nras-keys', 'the keys of NVIDIA’s remote attestation service')
    .option('--rim-service <url>', 'another address for manifests', NVIDIA_ADDRESSES.manifests)
    .option('--ocsp-responder <url>', 'another address for OCSP answers', NVIDIA_ADDRESSES.ocsp)
    .option('--nras <url>', 'another address for those keys', NVIDIA_ADDRESSES.attestation)
    .option('--nvidia-authority <file>', 'PEM of the only authority that these addresses are believed by')
    .action(fetchCollateral);

  withFolder(collateral.command('import'))
    .argument(
      '<files...>',
      'VCEK certificates, chains, revocation lists, manifests; or folders of collateral',
    )
    .description('check files that somebody brought, and keep them')
    .action(importCollateral);

  withFolder(collateral.command('list'))
    .description('show what is kept, and whether it holds now')
    .option('--json', 'one JSON document in place of lines')
    .action(listCollateral);
}
