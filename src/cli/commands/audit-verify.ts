import type { Command } from 'commander';

import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { auditReleaseLog, type AuditReport } from '../../audit/audit-log.ts';
import { recallTreeHead, rememberTreeHead } from '../../audit/memory.ts';
import type { AuditRow } from '../../audit/rows.ts';
import { serverSource } from '../../audit/server-source.ts';
import type { LogSource } from '../../log/reader.ts';
import { requireQuorum } from '../../log/witnessed-checkpoint.ts';
import type { Witnessing } from '../../log/witness-policy.ts';
import { logTrustOf, withLogCopy } from '../log-copy.ts';
import { print, profileOption, remark, withServer } from '../options.ts';
import { readWitnessing } from '../witness-policy.ts';

export const auditAlarmRefusals = defineRefusals('unacceptable', {
  'audit-alarm': {
    means: 'The log is genuine, but holds entries that its own rules do not allow.',
    hint: 'Ask the operator to explain the entries that were named; keep the log as it is.',
  },
});

interface VerifyOptions {
  readonly profile: string;
  readonly folder?: string;
  readonly state?: string;
  readonly witnessPolicy?: string;
  readonly json?: true;
}

function isoTime(posixSeconds: number): string {
  return `${new Date(posixSeconds * 1000).toISOString().slice(0, 19)}Z`;
}

function line({ index, at, what, who, text, effects }: AuditRow): string {
  const brought = effects.length === 0 ? '' : ` -> ${effects.join(', ')}`;
  return `${String(index).padStart(6)}  ${isoTime(at)}  ${what.padEnd(9)}  ${who}: ${text}${brought}`;
}

function printReport({ checkpoint, mode, rows, alarms }: AuditReport, json: boolean): void {
  if (json) {
    const verified = { origin: checkpoint.origin, size: checkpoint.size.toString(), mode };
    print(JSON.stringify({ ...verified, rows, alarms }));
    return;
  }
  for (const row of rows) print(line(row));
  for (const { index, refusal } of alarms) {
    print(
      `ALARM at ${index}: ${refusal.field}: expected ${refusal.expected}, found ${refusal.found} [${refusal.code}]`,
    );
  }
  remark(
    `verified: ${checkpoint.size} entries of ${checkpoint.origin} (${mode ?? 'no genesis entry'}); ` +
      'tree rebuilt from the entries, checkpoint signed by the pinned key',
  );
}

/** Without a policy the audit says that nobody else's view was compared; nothing here calls that witnessed. */
async function requireWitnesses({ checkpoint }: AuditReport, witnesses: Witnessing): Promise<void> {
  if (witnesses === 'not-required') {
    remark('no witness policy was given: whether others were shown the same log is not checked');
    return;
  }
  const cosignatures = await requireQuorum(checkpoint, witnesses);
  const times = cosignatures.map(({ key, time }) => `${key.name} ${isoTime(Number(time))}`);
  remark(`witnessed: ${times.join(', ')}`);
}

async function verify(options: VerifyOptions): Promise<void> {
  const trust = await logTrustOf(options.profile);
  const { origin } = trust;
  const witnesses = await readWitnessing(options.witnessPolicy ?? 'none', trust.keys);
  const previous = options.state === undefined ? undefined : await recallTreeHead(options.state, origin);
  const work = (source: LogSource): Promise<AuditReport> => auditReleaseLog(source, trust, previous);
  const report =
    options.folder === undefined
      ? await withServer(options.profile, (client) => work(serverSource(client)))
      : await withLogCopy(options.folder, trust, work);
  printReport(report, options.json === true);
  await requireWitnesses(report, witnesses);
  const [alarm] = report.alarms;
  if (alarm !== undefined) {
    throw auditAlarmRefusals.error('audit-alarm', {
      field: `entry ${alarm.index}`,
      expected: alarm.refusal.expected,
      found: `${alarm.refusal.found} (${report.alarms.length} alarms)`,
    });
  }
  if (options.state !== undefined) await rememberTreeHead(options.state, origin, report.checkpoint);
}

/** `weightgate audit verify`: verifies the log and prints who got which key, when, why. */
export function registerAuditVerify(audit: Command): void {
  audit
    .command('verify', { isDefault: true })
    .description('verify the release log and print who got which key, when, why')
    .addOption(profileOption())
    .option(
      '--folder <dir>',
      'read a copy in place of the server: static files of a mirror, a log folder, a server home',
    )
    .option('--state <file>', 'remember what was verified, and refuse a log that contradicts it')
    .option(
      '--witness-policy <file>',
      'demand the quorum of this policy for the checkpoint (C2SP tlog-policy)',
    )
    .option('--json', 'one JSON document in place of lines')
    .action(verify);
}
