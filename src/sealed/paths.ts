/** Which names files of a bundle may have (docs/spec/sealed-weights.md SW-2, SW-3). Paths come from outside. */

import { excerpt, toUtf8 } from '../../attestation/core/bytes.ts';
import { sealedMalformed } from './refusals.ts';

const MAX_PATH_BYTES = 1024;
const RESERVED_PREFIX = 'weightgate.';

/** Control characters, what divides paths elsewhere, and what names a stream or a drive elsewhere. */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\\:]/;

/** @throws RefusalError `sealed-path` */
function checkPath(path: string): void {
  const problem = problemOf(path);
  if (problem === undefined) return;
  throw sealedMalformed.error('sealed-path', {
    field: path === '' ? 'path' : excerpt(path),
    expected: 'a relative path as SW-2 allows it',
    found: problem,
  });
}

function problemOf(path: string): string | undefined {
  if (!path.isWellFormed() || path.normalize('NFC') !== path) return 'text that is not in Unicode form NFC';
  if (toUtf8(path).length > MAX_PATH_BYTES) return `more than ${MAX_PATH_BYTES} bytes`;
  if (FORBIDDEN.test(path)) return 'a backslash, a colon or a control character';
  const segments = path.split('/');
  if (segments.some((segment) => segment === '')) return 'an empty segment or an absolute path';
  if (segments.some((segment) => segment === '.' || segment === '..'))
    return 'a segment that leads elsewhere';
  if (segments.some((segment) => /[. ]$/.test(segment))) return 'a segment that ends in a dot or a space';
  if (foldCase(path).startsWith(RESERVED_PREFIX)) return `a name that begins with ${RESERVED_PREFIX}`;
  return undefined;
}

/** SW-3: two texts of one folded form may be one name on a file system that ignores case. */
function foldCase(path: string): string {
  return path.toUpperCase().toLowerCase().normalize('NFC');
}

/**
 * Checks every path and all of them together.
 *
 * @throws RefusalError `sealed-path`, `sealed-path-conflict`
 */
export function checkPaths(paths: readonly string[]): void {
  const files = new Map<string, string>();
  for (const path of paths) {
    checkPath(path);
    const folded = foldCase(path);
    const other = files.get(folded);
    if (other !== undefined) refuseConflict(path, other);
    files.set(folded, path);
  }
  for (const [folded, path] of files) {
    for (let at = folded.indexOf('/'); at !== -1; at = folded.indexOf('/', at + 1)) {
      const file = files.get(folded.slice(0, at));
      if (file !== undefined) refuseConflict(path, file);
    }
  }
}

function refuseConflict(path: string, other: string): never {
  throw sealedMalformed.error('sealed-path-conflict', {
    field: excerpt(path),
    expected: 'a name that no other file has, as a file or folder, after folding case',
    found: excerpt(other),
  });
}

/** The order of files in a bundle (SW-17): ascending by the bytes of the UTF-8, which is that of code points. */
export function comparePaths(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** All folders that the paths need, the outer before the inner, the bundle itself first. */
export function foldersOf(paths: readonly string[]): ReadonlySet<string> {
  const folders = new Set(['']);
  for (const path of paths) {
    for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1))
      folders.add(path.slice(0, at));
  }
  return folders;
}
