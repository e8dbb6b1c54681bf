/** One thread of verifying: takes files and hashes their ciphertext. */

import { createHash } from 'node:crypto';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

import { excerpt } from '../../attestation/core/bytes.ts';
import { refuseSize, refuseUnreadable } from './files.ts';
import type { Jobs } from './jobs.ts';
import { CHUNK_BYTES } from './layout.ts';
import type { SealedFile } from './manifest.ts';
import { servePool } from './pool.ts';
import { sealedInauthentic } from './refusals.ts';

export interface DigestWork {
  readonly folder: string;
  readonly files: readonly SealedFile[];
}

function checkFile(folder: string, file: SealedFile, buffer: Uint8Array, jobs: Jobs): void {
  const found = digestOf(folder, file, buffer, jobs);
  if (found === undefined || found === file.sha256) return;
  throw sealedInauthentic.error('sealed-file-digest', {
    field: excerpt(file.path),
    expected: file.sha256,
    found,
  });
}

/** Undefined when the work was stopped. */
function digestOf(folder: string, file: SealedFile, buffer: Uint8Array, jobs: Jobs): string | undefined {
  const hash = createHash('sha256');
  let at = 0;
  try {
    const fileDescriptor = openSync(join(folder, file.path), constants.O_RDONLY | constants.O_NOFOLLOW);
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
    if (file !== undefined) checkFile(work.folder, file, buffer, jobs);
  }
}

servePool(digestFiles);
