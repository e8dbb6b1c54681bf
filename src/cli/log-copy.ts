/** A copy of a release log in a folder: of a server's home, of the log folder in it, or the static files of a mirror. */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { LogTrust } from '../log/checkpoint.ts';
import { holdsReleaseLog, readReleaseLog } from '../log/log-folder.ts';
import type { LogSource } from '../log/reader.ts';
import { folderSource, publishedSource } from '../log/sources.ts';
import { parseVerifierKey } from '../log/verifier-key.ts';
import { fileRefusals } from '../platform/files.ts';
import { readServerProfile } from '../platform/server-profile.ts';
import { HOME_PLACES } from '../server/home-layout.ts';

/** Which log it must be, and under which key, as a profile pins it. @throws RefusalError as `readServerProfile` */
export async function logTrustOf(profile: string): Promise<LogTrust> {
  const { origin, logKey } = await readServerProfile(profile);
  return { origin, keys: [parseVerifierKey(logKey, 'profile.logKey')] };
}

/** @throws RefusalError `file-not-found`, `log-*`, and what `work` throws */
export async function withLogCopy<T>(
  folder: string,
  trust: LogTrust,
  work: (source: LogSource) => Promise<T>,
): Promise<T> {
  const database = [folder, join(folder, HOME_PLACES.log)].find(holdsReleaseLog);
  if (database === undefined) {
    await requireFolder(folder);
    return await work(folderSource(folder));
  }
  const log = await readReleaseLog(database, trust);
  try {
    return await work(publishedSource(log));
  } finally {
    await log.close();
  }
}

async function requireFolder(path: string): Promise<void> {
  const status = await stat(path).catch(() => undefined);
  if (status?.isDirectory() === true) return;
  throw fileRefusals.error('file-not-found', {
    field: path,
    expected: 'a folder with a copy of the log',
    found: status === undefined ? 'nothing' : 'no folder',
  });
}
