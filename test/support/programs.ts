import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** Those of the named programs that are on no path where Debian puts programs. */
export function missingPrograms(names: readonly string[]): string[] {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/usr/sbin'];
  return names.filter((name) => !folders.some((folder) => isExecutable(join(folder, name))));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
