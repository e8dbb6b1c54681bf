/** One thread of verifying: takes files and hashes their ciphertext. */

import { createHash } from 'node:crypto';
import { closeSync, constants, openSync, readSync } from 'node:fs';

import { refuseDigest, refuseSize, refuseUnreadable } from './files.ts';
import type { Jobs } from './jobs.ts';
import { CHUNK_BYTES } from './layout.ts';
import type { SealedFile } from './manifest.ts';
import { servePool } from './pool.ts';

/** A file and where it lies, with no link at its last segment. */
export interface LocatedFile extends SealedFile {
  readonly place: string;
}

export interface DigestWork {
  readonly files: readonly LocatedFile[];
}

function checkFile(file: LocatedFile, buffer: Uint8Array, jobs: Jobs): void {
  const found = digestOf(file, buffer, jobs);
  if (found === undefined || found === file.sha256) return;
  refuseDigest(file, found);
}

/** Undefined when the work was stopped. */
function digestOf(file: LocatedFile, buffer: Uint8Array, jobs: Jobs): string | undefined {
  const hash = createHash('sha256');
  let at = 0;
  try {
    const fileDescriptor = openSync(file.place, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      while (!jobs.stopped) {
        const count = readSync(fileDescriptor, buffer, 0, buffer.length, at);
        if (count === 0) break;
        hash.update(buffer.subarray(0, count));
        at += count;
        jobs.addProgress(count);
      }
    } finally {
      closeSync(fileDescriptor);
    }
  } catch (cause) {
    refuseUnreadable(file.path, cause);
  }
  if (jobs.stopped) return undefined;
  if (at !== file.bytes) refuseSize(file.path, file.bytes, at);
  return hash.digest('hex');
}

function digestFiles(work: DigestWork, jobs: Jobs): void {
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let job = jobs.take(); job !== undefined; job = jobs.take()) {
    const file = work.files[job];
    if (file !== undefined) checkFile(file, buffer, jobs);
  }
}

servePool(digestFiles);
