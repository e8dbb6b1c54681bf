import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/**
 * Those of the named programs that are on no path where Debian puts programs. Tests skip without them, but
 * `scripts/test` has just installed them: there a program that is missing is a failure and no reason to skip.
 */
export function missingPrograms(names: readonly string[]): string[] {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/usr/sbin'];
  const missing = names.filter((name) => !folders.some((folder) => isExecutable(join(folder, name))));
  if (missing.length > 0 && process.env['WEIGHTGATE_TEST_PROGRAMS'] === 'required') {
    throw new Error(`not installed, although scripts/setup installs it: ${missing.join(', ')}`);
  }
  return missing;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
