/** One writer of a log, with several who submit to it, each the next entry when the last was answered. */

import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

import { openReleaseLog } from '../../src/log/log-folder.ts';
import type { ReleaseLog } from '../../src/log/release-log.ts';
import { LogWitnesses } from '../../src/log/log-witnesses.ts';
import { parseWitnessPolicy } from '../../src/log/witness-policy.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { moduleArguments, report } from '../support/program.ts';
import { entryOf, ORIGIN, POLL_MILLISECONDS, readyFile, signerOf } from './work.ts';

export interface AppendTask {
  /** With the checkpoint of this writer, and the database where that is SQLite. */
  readonly folder: string;
  /** Connection string of PostgreSQL, or null. */
  readonly database: string | null;
  readonly privateKey: string;
  readonly writer: number;
  readonly submitters: number;
  readonly entryBytes: number;
  readonly seconds: number;
  /** A file that is made when all writers are ready. */
  readonly gate: string;
  readonly witness?: { readonly policy: string; readonly authorityCertificate: string } | undefined;
}

export interface AppendReport {
  /** From handing an entry in to having its proof. */
  readonly milliseconds: readonly number[];
}

function witnessesOf({ witness }: AppendTask): LogWitnesses | undefined {
  if (witness === undefined) return undefined;
  const { authorityCertificate } = witness;
  const policy = parseWitnessPolicy(witness.policy, 'policy');
  return new LogWitnesses({ policy, authorityCertificate, clock: systemClock });
}

async function submit(log: ReleaseLog, submitter: number, task: AppendTask): Promise<readonly number[]> {
  const { writer, entryBytes, seconds } = task;
  const endsAt = performance.now() + seconds * 1000;
  const milliseconds: number[] = [];
  for (let i = 0; performance.now() < endsAt; i += 1) {
    const entry = entryOf(writer * 1000 + submitter, i, entryBytes);
    const startedAt = performance.now();
    const { checkpoint } = await log.append(entry, { idempotencyKey: randomUUID() });
    milliseconds.push(performance.now() - startedAt);
    if (task.witness !== undefined && !checkpoint.includes('\n— witness.bench.example '))
      throw new Error('not witnessed');
  }
  return milliseconds;
}

const task = moduleArguments() as AppendTask;
const identity = { origin: ORIGIN, signers: [signerOf(task.privateKey)] };
const log = await openReleaseLog(task.folder, identity, {
  database: task.database,
  witnesses: witnessesOf(task),
});
await writeFile(readyFile(task.folder), '');
while (!existsSync(task.gate)) await delay(POLL_MILLISECONDS);
const submitters = Array.from({ length: task.submitters }, (_, i) => submit(log, i, task));
const milliseconds = (await Promise.all(submitters)).flat();
await log.close();
report({ milliseconds } satisfies AppendReport);
