import type { Command } from 'commander';

import { toHex } from '../../../attestation/core/bytes.ts';
import type { Alarm, AuditOutcome } from '../../audit/audit-log.ts';
import { describeEntry, type AuditRow } from '../../audit/rows.ts';
import { legible } from '../../platform/legible.ts';
import { Spool } from '../../platform/spool.ts';
import { concludeAudit, isoTime, runAudit, type AuditOptions } from '../audit-report.ts';
import { logTrustOf } from '../log-copy.ts';
import { addLogSourceOptions } from '../log-source.ts';
import { print, printPiece } from '../options.ts';
import { readWitnessing } from '../witness-policy.ts';

interface VerifyOptions extends AuditOptions {
  readonly witnessPolicy?: string;
  readonly json?: true;
}

function rowLine({ index, at, what, who, text, effects }: AuditRow): string {
  const brought = effects.length === 0 ? '' : ` -> ${effects.join(', ')}`;
  return `${String(index).padStart(6)}  ${isoTime(at)}  ${what.padEnd(9)}  ${who}: ${text}${brought}`;
}

function alarmLine({ index, refusal }: Alarm): string {
  return `ALARM at ${index}: ${refusal.field}: expected ${refusal.expected}, found ${refusal.found} [${refusal.code}]`;
}

async function printLines(rows: Spool, alarms: Spool): Promise<void> {
  for await (const line of rows.lines()) print(line);
  for await (const line of alarms.lines()) print(line);
}

/** One document, written piece by piece: it may be larger than memory. */
async function printDocument({ checkpoint, mode }: AuditOutcome, rows: Spool, alarms: Spool): Promise<void> {
  const { origin, size, root } = checkpoint;
  const verified = JSON.stringify({ origin, size: size.toString(), root: toHex(root), mode });
  printPiece(verified.slice(0, -1));
  await printList('rows', rows);
  await printList('alarms', alarms);
  print('}');
}

async function printList(name: string, items: Spool): Promise<void> {
  printPiece(`,"${name}":[`);
  let separator = '';
  for await (const item of items.lines()) {
    printPiece(`${separator}${item}`);
    separator = ',';
  }
  printPiece(']');
}

async function verify(options: VerifyOptions): Promise<void> {
  const trust = await logTrustOf(options.profile);
  const witnesses = await readWitnessing(options.witnessPolicy ?? 'none', trust.keys);
  const asJson = options.json === true;
  await using rows = new Spool();
  await using alarms = new Spool();
  const outcome = await runAudit(options, trust, {
    entry: async ({ entry, index, before, effects }) => {
      const row = describeEntry(entry, index, before, effects);
      await rows.append(asJson ? JSON.stringify(row) : legible(rowLine(row)));
    },
    alarm: async (alarm) => {
      const { index, refusal } = alarm;
      await alarms.append(asJson ? JSON.stringify({ index, refusal }) : legible(alarmLine(alarm)));
    },
  });
  if (asJson) await printDocument(outcome, rows, alarms);
  else await printLines(rows, alarms);
  await concludeAudit(outcome, options, witnesses);
}

/** `weightgate audit verify`: verifies the log and prints who got which key, when, why. */
export function registerAuditVerify(audit: Command): void {
  const command = audit
    .command('verify', { isDefault: true })
    .description('verify the release log and print who got which key, when, why');
  addLogSourceOptions(command)
    .option('--state <file>', 'remember what was verified, and refuse a log that contradicts it')
    .option(
      '--witness-policy <file>',
      'demand the quorum of this policy for the checkpoint (C2SP tlog-policy)',
    )
    .option('--json', 'one JSON document in place of lines')
    .action(verify);
}
