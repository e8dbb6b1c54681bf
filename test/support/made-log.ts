/** A log that somebody made who has its key: with any entries, whatever the rules say. */

import { createReleaseLog } from '../../src/log/log-folder.ts';
import { publishedSource } from '../../src/log/sources.ts';
import type { LogTrust } from '../../src/log/checkpoint.ts';
import type { LogSource } from '../../src/log/reader.ts';
import { testSigner } from '../log/test-signer.ts';
import { temporaryFolder } from './temporary-folder.ts';

interface MadeLog {
  readonly folder: string;
  readonly source: LogSource;
  readonly trust: LogTrust;
}

/** @param work is done while the log is open */
export async function withMadeLog<T>(
  origin: string,
  entries: readonly Uint8Array[],
  work: (log: MadeLog) => Promise<T>,
): Promise<T> {
  const signer = testSigner(origin);
  const folder = await temporaryFolder();
  const log = await createReleaseLog(folder, { origin, signers: [signer] });
  try {
    for (const entry of entries) await log.append(entry);
    return await work({ folder, source: publishedSource(log), trust: { origin, keys: [signer.key] } });
  } finally {
    await log.close();
  }
}
