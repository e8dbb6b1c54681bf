import type { Command } from 'commander';

import { registerDiff } from '../reference-diff.ts';
import { registerIdBlock } from '../reference-id-block.ts';
import { registerPublish } from '../reference-publish.ts';
import { registerRecord } from '../reference-record.ts';
import { registerRecordGuest } from '../reference-recorded-guest.ts';
import { registerSevSnp } from '../reference-sev-snp.ts';
import { registerTpm } from '../reference-tpm.ts';

/** `weightgate reference record|record-guest|sev-snp|tpm|id-block|publish|diff`: what a good machine measures. */
export function registerReference(program: Command): void {
  const reference = program
    .command('reference')
    .description('reference values: what a good machine measures');

  registerRecord(reference);
  registerRecordGuest(reference);
  registerSevSnp(reference);
  registerTpm(reference);
  registerIdBlock(reference);

  registerPublish(reference);
  registerDiff(reference);
}
