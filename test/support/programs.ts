import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/**
 * Those of the named programs that are on no path where Debian puts programs. Tests skip without them, but
 * `scripts/test` has just installed them: there a program that is missing is a failure and no reason to skip.
 */
export function missingPrograms(names: readonly string[]): string[] {
  const missing = absentPrograms(names);
  if (missing.length > 0 && process.env['WEIGHTGATE_TEST_PROGRAMS'] === 'required') {
    throw new Error(`not installed, although scripts/setup installs it: ${missing.join(', ')}`);
  }
  return missing;
}

/** The same of programs that `scripts/setup` leaves to the machine: tests skip without them. */
export function absentPrograms(names: readonly string[]): string[] {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/usr/sbin'];
  return names.filter((name) => !folders.some((folder) => isExecutable(join(folder, name))));
}

/** A compiler for C: `scripts/setup` brings it where root runs it, and makes nobody else install one. */
export function missingCompiler(): string[] {
  return process.getuid?.() === 0 ? missingPrograms(['cc']) : absentPrograms(['cc']);
}

/** Compiles a stand-in for a library of a vendor. @param source in C, without warnings */
export async function compileLibrary(source: string, library: string): Promise<void> {
  const strict = ['-shared', '-fPIC', '-pthread', '-Wall', '-Werror'];
  await promisify(execFile)('cc', [...strict, '-o', library, source]);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
