/** A copy of an evidence store for an auditor, made also while the server writes (docs/spec/replay.md, RD-7). */

import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';

import { isRefusal } from '../../attestation/core/refusal.ts';
import { fileRefusals } from '../platform/files.ts';
import { EvidenceStore, EVIDENCE_DATABASE } from './evidence-store.ts';

/**
 * @param to a folder that is not there; it appears when the copy is complete
 * @throws RefusalError `file-exists`, `file-not-written`, those of `EvidenceStore.read`
 */
export async function copyEvidenceStore(from: string, to: string): Promise<void> {
  EvidenceStore.read(from).close();
  const path = resolve(to);
  if ((await stat(path).catch(() => undefined)) !== undefined) {
    const facts = { field: path, expected: 'a new path', found: 'something there already' };
    throw fileRefusals.error('file-exists', facts);
  }
  const partial = join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
  try {
    await mkdir(partial);
    await copyDatabase(join(from, EVIDENCE_DATABASE), join(partial, EVIDENCE_DATABASE));
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    if (isRefusal(cause)) throw cause;
    const found = cause instanceof Error ? cause.message : 'another failure';
    throw fileRefusals.error('file-not-written', { field: path, expected: 'a copy', found }, { cause });
  }
}

/** The copy is one file, without a log of what is to be written: it can be read from a medium that cannot. */
async function copyDatabase(from: string, to: string): Promise<void> {
  const source = new DatabaseSync(from, { readOnly: true, timeout: 5000 });
  try {
    await backup(source, to);
  } finally {
    source.close();
  }
  const copy = new DatabaseSync(to);
  copy.exec('PRAGMA journal_mode = DELETE');
  copy.close();
}
