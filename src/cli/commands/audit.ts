import type { Command } from 'commander';

import { registerAuditCopyStore } from './audit-copy-store.ts';
import { registerAuditExport } from './audit-export.ts';
import { registerAuditQuery } from './audit-query.ts';
import { registerAuditReplay } from './audit-replay.ts';
import { registerAuditVerify } from './audit-verify.ts';
import { registerAuditWhatIf } from './audit-what-if.ts';

const REGISTRATIONS = [
  registerAuditVerify,
  registerAuditExport,
  registerAuditQuery,
  registerAuditReplay,
  registerAuditCopyStore,
  registerAuditWhatIf,
];

/** `weightgate audit …`: what anybody can do with a release log. `audit` alone is `audit verify`. */
export function registerAudit(program: Command): void {
  const audit = program
    .command('audit')
    .description('verify the release log, and ask it who got which key, when, why');
  for (const register of REGISTRATIONS) register(audit);
}
