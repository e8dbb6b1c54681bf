/**
 * Completes package-lock.json after a change of dependencies.
 *
 * Some registry mirrors carry only the native packages of their own platform. npm then leaves the optional packages
 * of other platforms out of the lock file, and `npm ci` calls that lock file incomplete. This adds the missing ones
 * with the platform that their names state, so that every npm passes over them in the same way.
 */
import { readFileSync, writeFileSync } from 'node:fs';

interface LockedPackage {
  version?: string;
  optional?: boolean;
  dev?: boolean;
  os?: string[];
  cpu?: string[];
  optionalDependencies?: Record<string, string>;
}

interface LockFile {
  packages: Record<string, LockedPackage>;
}

const OPERATING_SYSTEMS: Readonly<Record<string, string>> = {
  win: 'win32',
  win32: 'win32',
  mac: 'darwin',
  darwin: 'darwin',
  linux: 'linux',
  android: 'android',
  freebsd: 'freebsd',
  openbsd: 'openbsd',
  openharmony: 'openharmony',
};
const PROCESSORS = ['x64', 'arm64', 'arm', 'ia32', 'ppc64', 's390x', 'riscv64', 'loong64', 'wasm32'];

function platformOf(name: string): { os: string[]; cpu: string[] } {
  const words = name.split(/[/-]/);
  const os = words.map((word) => OPERATING_SYSTEMS[word]).find((word) => word !== undefined);
  const cpu = PROCESSORS.find((processor) => words.includes(processor));
  if (os === undefined || cpu === undefined) throw new Error(`${name}: the name states no platform`);
  return { os: [os], cpu: [cpu] };
}

const path = process.argv[2] ?? 'package-lock.json';
const lock = JSON.parse(readFileSync(path, 'utf8')) as LockFile;
const isLocked = (owner: string, name: string): boolean =>
  `${owner}/node_modules/${name}` in lock.packages || `node_modules/${name}` in lock.packages;

for (const [owner, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (isLocked(owner, name)) continue;
    const dev = entry.dev === true ? { dev: true } : {};
    lock.packages[`node_modules/${name}`] = { version, ...dev, optional: true, ...platformOf(name) };
  }
}
const sorted = Object.entries(lock.packages).sort(([left], [right]) => (left < right ? -1 : 1));
lock.packages = Object.fromEntries(sorted);
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
