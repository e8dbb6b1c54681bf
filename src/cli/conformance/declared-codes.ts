/** The closed set of refusal codes that a device class may use: those of the verifier library, and its own. */

import { globSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import type { RefusalFamily, RefusalFamilyName } from '../../../attestation/core/refusal.ts';

/** The verifier library of this program. */
export const LIBRARY = join(import.meta.dirname, '../../../attestation');

export interface DeclaredCodes {
  readonly codes: ReadonlyMap<string, RefusalFamilyName>;
  /** Codes of the class that stand for something else already. */
  readonly repeated: readonly string[];
}

/**
 * @param folder of the class; its own modules in the library are left out
 * @param load loads a module of the folder
 */
export async function declaredCodes(
  folder: string,
  load: (file: string) => Promise<unknown>,
): Promise<DeclaredCodes> {
  const others = modulesOf(LIBRARY).filter((file) => !file.startsWith(`${folder}/`));
  const codes = new Map<string, RefusalFamilyName>();
  for (const file of others) addFamilies(codes, await import(pathToFileURL(file).href));
  const own = new Map<string, RefusalFamilyName>();
  for (const file of modulesOf(folder)) addFamilies(own, await load(file));
  const repeated = [...own.keys()].filter((code) => codes.has(code));
  return { codes: new Map([...codes, ...own]), repeated };
}

function modulesOf(folder: string): readonly string[] {
  return globSync('**/*.ts', { cwd: folder })
    .filter((file) => !file.endsWith('.test.ts'))
    .map((file) => join(folder, file))
    .sort();
}

function addFamilies(codes: Map<string, RefusalFamilyName>, module: unknown): void {
  for (const exported of Object.values(module as Readonly<Record<string, unknown>>)) {
    if (!isFamily(exported)) continue;
    for (const code of Object.keys(exported.codes)) codes.set(code, exported.family);
  }
}

function isFamily(value: unknown): value is RefusalFamily<string> {
  return typeof value === 'object' && value !== null && 'codes' in value && 'family' in value;
}
