import type { Command } from 'commander';

import { copyEvidenceStore } from '../../server/evidence-store-copy.ts';
import { remark } from '../options.ts';

/** `weightgate audit copy-store`: what the operator hands to an auditor. */
export function registerAuditCopyStore(audit: Command): void {
  audit
    .command('copy-store <store> <folder>')
    .description('copy an evidence store into a new folder for an auditor, also while its server runs')
    .action(async (store: string, folder: string) => {
      await copyEvidenceStore(store, folder);
      remark(`copied to ${folder}`);
    });
}
