/**
 * Runs the conformance battery on the folder of a device class. The folder's code and its fixture run in this process,
 * with all that the process may do: only for code that one would run anyway.
 */

import { basename, relative } from 'node:path';
import { pathToFileURL } from 'node:url';

import packageDocument from '../../../package.json' with { type: 'json' };
import { BATTERY_VERSION, runBattery, type RowResult } from '../../../attestation/conformance/battery.ts';
import type { DeviceFixture } from '../../../attestation/conformance/fixture.ts';
import type { AnyDeviceClass } from '../../../attestation/core/device-class.ts';
import {
  CLASS_MODULE,
  conventionalFixture,
  digestOfFile,
  openClassFolder,
  type ClassFolder,
  type FileDigest,
} from './class-folder.ts';
import { declaredCodes, LIBRARY, type DeclaredCodes } from './declared-codes.ts';
import { watchImports, type ImportWatch } from './import-watch.ts';
import { conformanceFormRefusals } from './refusals.ts';

/** Packages of pure functions that the verifier library is built on. */
const ALLOWED_PACKAGES = ['@noble/curves', '@noble/hashes', '#saxes'];

/** How one class of the folder did. */
export interface ClassReport {
  readonly class: string;
  readonly conforms: boolean;
  readonly rows: readonly RowResult[];
}

/** What a partner attaches: what was tried on which files by which program. */
export interface ConformanceReport {
  readonly version: 1;
  /** Whether every class of the folder does. */
  readonly conforms: boolean;
  readonly battery: { readonly version: number };
  readonly tool: { readonly name: string; readonly version: string; readonly node: string };
  /** Digest of the whole folder, and of each of its files. */
  readonly folder: { readonly sha256: string; readonly files: readonly FileDigest[] };
  readonly fixture: FileDigest;
  readonly classes: readonly ClassReport[];
}

/**
 * @param fixturePath where the fixture does not lie by the convention
 * @throws RefusalError `conformance-class`, `conformance-fixture`, `file-*`; a class that fails is a report
 */
export async function checkFolder(folder: string, fixturePath?: string): Promise<ConformanceReport> {
  const opened = await openClassFolder(folder);
  const fixtureFile = fixturePath ?? conventionalFixture(opened.path);
  const fixtureDigest = await digestOfFixture(fixtureFile);
  const watch = watchImports(opened.path, LIBRARY, ALLOWED_PACKAGES);
  try {
    const deviceClasses = await loadClasses(opened, watch);
    const declared = await declaredCodes(opened.path, (file) => loadModule(watch.urlOf(file), file));
    const fixtures = await loadFixtures(fixtureFile, deviceClasses);
    const classes: ClassReport[] = [];
    for (const fixture of fixtures) classes.push(await checkClass(fixture, watch, declared));
    return {
      version: 1,
      conforms: classes.every(({ conforms }) => conforms),
      battery: { version: BATTERY_VERSION },
      tool: { name: packageDocument.name, version: packageDocument.version, node: process.version },
      folder: { sha256: opened.digest, files: opened.files },
      fixture: { path: relative(opened.path, fixtureFile), sha256: fixtureDigest },
      classes,
    };
  } finally {
    watch.end();
  }
}

async function checkClass(
  fixture: DeviceFixture,
  watch: ImportWatch,
  declared: DeclaredCodes,
): Promise<ClassReport> {
  const results = await runBattery(fixture, declared.codes);
  const rows = [...results, ...sourceRows(watch, declared)].sort(byRule);
  const conforms = rows.every(({ outcome }) => outcome !== 'failed');
  return { class: fixture.deviceClass.name, conforms, rows };
}

async function digestOfFixture(file: string): Promise<string> {
  try {
    return await digestOfFile(file);
  } catch (cause) {
    throw fixtureRefusal(file, 'a fixture', 'no file that can be read', cause);
  }
}

function fixtureRefusal(field: string, expected: string, found: string, cause?: unknown): Error {
  return conformanceFormRefusals.error('conformance-fixture', { field, expected, found }, { cause });
}

async function loadModule(url: string, file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return (await import(url)) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    const found = cause instanceof Error ? `${cause.name}: ${cause.message}` : 'one that throws';
    const facts = { field: file, expected: 'a module that can be loaded', found };
    throw conformanceFormRefusals.error('conformance-class', facts, { cause });
  }
}

/** A folder may have several classes that share their layouts, such as a GPU and the switch between GPUs. */
async function loadClasses({ path }: ClassFolder, watch: ImportWatch): Promise<readonly AnyDeviceClass[]> {
  const file = `${path}/${CLASS_MODULE}`;
  const exported = Object.values(await loadModule(watch.urlOf(file), file)).filter(isDeviceClass);
  if (exported.length > 0) return exported;
  throw conformanceFormRefusals.error('conformance-class', {
    field: `${basename(path)}/${CLASS_MODULE}`,
    expected: 'an object of the type DeviceClass among its exports',
    found: 'none',
  });
}

function isDeviceClass(value: unknown): value is AnyDeviceClass {
  if (typeof value !== 'object' || value === null || !('name' in value)) return false;
  const members = ['parse', 'identify', 'verify'] as const;
  return members.every((name) => typeof Reflect.get(value, name) === 'function');
}

/** A fixture module exports a function `make…Fixture` for each class of the folder. */
async function loadFixtures(
  file: string,
  deviceClasses: readonly AnyDeviceClass[],
): Promise<readonly DeviceFixture[]> {
  const module = await loadModule(pathToFileURL(file).href, file);
  const makers = Object.entries(module).flatMap(([name, value]) =>
    /^make\w*Fixture$/.test(name) && typeof value === 'function'
      ? [value as () => Promise<DeviceFixture>]
      : [],
  );
  const fixtures: DeviceFixture[] = [];
  for (const make of makers) fixtures.push(await make());
  return deviceClasses.map((deviceClass) => {
    const own = fixtures.filter((fixture) => fixture.deviceClass === deviceClass);
    const [fixture] = own;
    if (fixture !== undefined && own.length === 1) return fixture;
    throw fixtureRefusal(
      file,
      `one function make…Fixture for the class ${deviceClass.name}`,
      `${own.length}`,
    );
  });
}

/** In the order of docs/spec/device-class.md, where `DC-9` comes before `DC-10`. */
function byRule(left: RowResult, right: RowResult): number {
  return Number(left.rule.slice(3)) - Number(right.rule.slice(3));
}

/** What only the source shows: a class may not reach beyond the library, nor use another's refusal codes. */
function sourceRows({ forbidden }: ImportWatch, { repeated }: DeclaredCodes): readonly RowResult[] {
  return [
    sourceRow('DC-12', 'imports the verifier library, pure packages and itself only', 'no other import', [
      ...forbidden,
    ]),
    sourceRow('DC-14', 'declares codes that stand for nothing else', 'new codes', repeated),
  ];
}

function sourceRow(rule: string, title: string, expected: string, wrong: readonly string[]): RowResult {
  const outcome = wrong.length === 0 ? 'passed' : 'failed';
  const deviations = wrong.map((found) => ({ subject: 'source', expected, found }));
  const found = wrong.length === 0 ? expected : wrong.join(', ');
  return { rule, title, outcome, expected, found, cases: 1, codes: [], deviations };
}
