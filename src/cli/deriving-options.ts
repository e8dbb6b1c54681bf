/** What commands that derive decisions again are given besides a log: the evidence stores of its servers. */

import { Option, type Command } from 'commander';

import type { FollowedEntry } from '../audit/rule-follower.ts';
import type { LoggedDecision } from '../audit/replay.ts';
import { EvidenceStore } from '../server/evidence-store.ts';
import { collect } from './arguments.ts';
import type { AuditOptions } from './audit-report.ts';
import { addLogSourceOptions } from './log-source.ts';

export interface DerivingOptions extends AuditOptions {
  readonly store: readonly string[];
  readonly witnessPolicy?: string;
  readonly json?: true;
}

export function addDerivingOptions(command: Command): Command {
  return addLogSourceOptions(command)
    .addOption(
      new Option('--store <dir>', 'evidence store of a server of the log, or a copy of it; several times')
        .argParser(collect)
        .makeOptionMandatory(),
    )
    .option('--state <file>', 'remember what was verified, and refuse a log that contradicts it')
    .option(
      '--witness-policy <file>',
      'demand the quorum of this policy for the checkpoint (C2SP tlog-policy)',
    )
    .option('--json', 'one JSON document in place of lines');
}

/** Opens the stores for work, and closes them. @throws RefusalError `evidence-store-*`, and what `work` throws */
export async function withStores<T>(
  { store: folders }: DerivingOptions,
  work: (stores: readonly EvidenceStore[]) => Promise<T>,
): Promise<T> {
  const stores: EvidenceStore[] = [];
  try {
    for (const folder of folders) stores.push(EvidenceStore.read(folder));
    return await work(stores);
  } finally {
    for (const store of stores) store.close();
  }
}

/** @returns undefined for an entry that is no decision */
export function decisionOf({ index, entry, before: state }: FollowedEntry): LoggedDecision | undefined {
  return entry.type === 'decision' && state !== undefined ? { index, entry, state } : undefined;
}
