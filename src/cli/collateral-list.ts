/** What a folder of collateral holds, how old it is, and whether it would be used now. */

import { join } from 'node:path';

import { isRefusal } from '../../attestation/core/refusal.ts';
import { systemClock } from '../platform/clock.ts';
import { DirectoryStore } from '../platform/collateral/directory-store.ts';
import type { KeptCollateral } from '../platform/collateral/kept-collateral.ts';
import { isNvidiaItem, type NvidiaItem } from '../platform/collateral/nvidia-items.ts';
import { collateralName } from '../platform/collateral/source.ts';
import { readImportable } from './collateral-import.ts';
import { readNvidiaImportable } from './collateral-nvidia.ts';
import { openCollateral, openNvidiaCollateral, type FolderOptions } from './collateral-shelves.ts';
import { print } from './options.ts';

interface ListedItem {
  readonly path: string;
  readonly holds: boolean;
  /** Why it would not be used. */
  readonly code: string | null;
  /** Seconds since it was stored. */
  readonly age: number;
}

interface Shelves {
  readonly amd: KeptCollateral;
  readonly nvidia: KeptCollateral<NvidiaItem>;
}

async function examine(path: string, folder: string, shelves: Shelves): Promise<ListedItem['code']> {
  try {
    const place = join(folder, path);
    const nvidia = await readNvidiaImportable(place);
    const items = nvidia === undefined ? await readImportable(place) : [nvidia];
    const own = items.find(({ item }) => path.startsWith(`${collateralName(item)}.`))?.item;
    if (own === undefined) return 'collateral-other';
    await (isNvidiaItem(own) ? shelves.nvidia.find(own) : shelves.amd.find(own));
    return null;
  } catch (error) {
    if (isRefusal(error)) return error.refusal.code;
    throw error;
  }
}

export async function listCollateral(options: FolderOptions & { readonly json?: true }): Promise<void> {
  const store = new DirectoryStore(options.dir);
  const shelves = { amd: await openCollateral(options), nvidia: await openNvidiaCollateral(options) };
  const listed: ListedItem[] = [];
  for (const path of await store.list()) {
    const code = await examine(path, options.dir, shelves);
    const age = Math.max(0, systemClock.posixSeconds() - (await store.storedAt(path)));
    listed.push({ path, holds: code === null, code, age });
  }
  if (options.json === true) print(JSON.stringify(listed));
  else for (const item of listed) print(listedLine(item));
}

function listedLine({ path, code, age }: ListedItem): string {
  const verdict = code === null ? 'holds' : 'no   ';
  return `${verdict}  ${path}  ${ageText(age)}${code === null ? '' : ` [${code}]`}`;
}

const UNITS: readonly (readonly [seconds: number, name: string])[] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
];

function ageText(age: number): string {
  const [seconds, name] = UNITS.find(([unit]) => age >= unit) ?? [1, 's'];
  return `${Math.floor(age / seconds)} ${name}`;
}
