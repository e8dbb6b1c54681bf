/**
 * Does one piece of work on a log, until it is done or somebody kills this process. Each event is one synchronous call of
 * writev, which the fault injection leaves alone: what the parent has read is exactly what was acknowledged.
 */

import { writevSync } from 'node:fs';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { createReleaseLog, openReleaseLog } from '../../src/log/log-folder.ts';
import type { ReleaseLog } from '../../src/log/release-log.ts';
import {
  entryOf,
  limits,
  watchedIdentity,
  witnessesAt,
  workSchema,
  type Work,
  type WorkEvent,
} from './work.ts';

function say(event: WorkEvent): void {
  writevSync(1, [toUtf8(`${JSON.stringify(event)}\n`)]);
}

function sayRefused(name: string, error: unknown): void {
  if (!isRefusal(error)) throw error;
  say({ kind: 'refused', name, code: error.refusal.code });
}

async function open({ folder, creates, witness }: Work): Promise<ReleaseLog> {
  const identity = watchedIdentity((text) => {
    say({ kind: 'signed', text });
  });
  if (creates) await (await createReleaseLog(folder, identity, limits)).close();
  const witnesses = witness === undefined ? undefined : witnessesAt(witness);
  return await openReleaseLog(folder, identity, { limits, witnesses });
}

async function append(log: ReleaseLog, name: string): Promise<void> {
  try {
    const { index, proof } = await log.append(entryOf(name), { idempotencyKey: name });
    say({ kind: 'appended', name, index: index.toString(), proof });
  } catch (error) {
    sayRefused(name, error);
  }
}

const work = workSchema.parse(JSON.parse(process.argv[2] ?? ''));
try {
  const log = await open(work);
  for (const batch of work.batches) await Promise.all(batch.map((name) => append(log, name)));
  await log.close();
} catch (error) {
  sayRefused('the log', error);
}
