import { InvalidArgumentError, Option, type Command } from 'commander';

import { toHex } from '../../../attestation/core/bytes.ts';
import type { AuditOutcome } from '../../audit/audit-log.ts';
import { csvRecord } from '../../audit/csv.ts';
import { queryDecision, type DecisionFilter, type DecisionRow } from '../../audit/decision-query.ts';
import { PHASES, phaseField } from '../../governance/fields.ts';
import { legible } from '../../platform/legible.ts';
import { Spool } from '../../platform/spool.ts';
import { collect } from '../arguments.ts';
import { concludeAudit, isoTime, runAudit, type AuditOptions } from '../audit-report.ts';
import { logTrustOf } from '../log-copy.ts';
import { addLogSourceOptions } from '../log-source.ts';
import { print, printPiece, remark } from '../options.ts';
import { readWitnessing } from '../witness-policy.ts';

interface QueryOptions extends AuditOptions {
  readonly model?: readonly string[];
  readonly lab?: readonly string[];
  readonly phase?: readonly string[];
  readonly outcome?: DecisionFilter['outcome'];
  readonly code?: readonly string[];
  readonly deviceClass?: readonly string[];
  readonly since?: number;
  readonly until?: number;
  readonly witnessPolicy?: string;
  readonly csv?: true;
  readonly json?: true;
}

const COLUMNS = [
  ...[
    'index',
    'at',
    'outcome',
    'lab',
    'model',
    'version',
    'variant',
    'manifest',
    'phase',
    'purpose',
    'devices',
  ],
  ...['simulated', 'lease_ends_at', 'renews', 'reasons', 'codes', 'request', 'log_entries', 'log_root'],
];

/** A day, or a time of it in UTC. @returns POSIX seconds */
function parseTime(text: string): number {
  const isTime = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2})?Z)?$/.test(text);
  const milliseconds = isTime ? Date.parse(text) : Number.NaN;
  // A day that no month has is taken for one of the next month otherwise.
  const isReal =
    !Number.isNaN(milliseconds) && new Date(milliseconds).toISOString().startsWith(text.slice(0, 10));
  if (!isReal) throw new InvalidArgumentError('It must be 2027-03-31 or 2027-03-31T12:00:00Z.');
  return milliseconds / 1000;
}

function filterOf(options: QueryOptions): DecisionFilter {
  const { model = [], lab = [], phase = [], code = [], deviceClass = [], outcome, since, until } = options;
  return {
    models: model,
    labs: lab,
    phases: phase,
    codes: code,
    deviceClasses: deviceClass,
    outcome,
    since,
    until,
  };
}

function cellsOf(row: DecisionRow, { checkpoint }: AuditOutcome): readonly string[] {
  return [
    ...[
      String(row.index),
      isoTime(row.at),
      row.outcome,
      row.lab,
      row.model ?? '',
      row.version ?? '',
      row.variant ?? '',
    ],
    ...[row.manifestDigest, row.phase ?? '', row.purpose, row.deviceClasses.join(' '), String(row.simulated)],
    ...[row.leaseEndsAt === null ? '' : isoTime(row.leaseEndsAt), row.renews ?? '', row.reasons.join(' ')],
    ...[row.codes.join(' '), row.requestDigest, checkpoint.size.toString(), toHex(checkpoint.root)],
  ];
}

function textOf(row: DecisionRow): string {
  const model = row.model === null ? row.manifestDigest.slice(0, 16) : `${row.model} ${row.version ?? ''}`;
  const end = row.leaseEndsAt === null ? row.codes.join(', ') : `until ${isoTime(row.leaseEndsAt)}`;
  const devices = row.deviceClasses.length === 0 ? '' : ` on ${row.deviceClasses.join(' and ')}`;
  const head = `${String(row.index).padStart(6)}  ${isoTime(row.at)}  ${row.outcome}`;
  return `${head}  ${row.lab}: ${model} (${row.phase ?? 'not registered'}) for ${row.purpose}${devices}, ${end}`;
}

const timed = (row: DecisionRow): object => ({
  ...row,
  at: isoTime(row.at),
  leaseEndsAt: row.leaseEndsAt === null ? null : isoTime(row.leaseEndsAt),
});

async function printCsv(rows: Spool, outcome: AuditOutcome): Promise<void> {
  process.stdout.write(`${csvRecord(COLUMNS)}\r\n`);
  for await (const row of rows.lines()) {
    process.stdout.write(`${csvRecord(cellsOf(JSON.parse(row) as DecisionRow, outcome))}\r\n`);
  }
}

/** The answer, and what it is complete over: without that it would be a search result like any other. */
async function printJson(rows: Spool, { checkpoint }: AuditOutcome, filter: DecisionFilter): Promise<void> {
  const { origin, size, root, note } = checkpoint;
  const covered = { origin, first: '0', last: (size - 1n).toString(), root: toHex(root), checkpoint: note };
  printPiece(`${JSON.stringify({ covered, filter }).slice(0, -1)},"decisions":[`);
  let separator = '';
  for await (const row of rows.lines()) {
    printPiece(`${separator}${JSON.stringify(timed(JSON.parse(row) as DecisionRow))}`);
    separator = ',';
  }
  print(']}');
}

async function printText(rows: Spool): Promise<void> {
  for await (const row of rows.lines()) print(legible(textOf(JSON.parse(row) as DecisionRow)));
}

async function query(options: QueryOptions): Promise<void> {
  const filter = filterOf(options);
  const trust = await logTrustOf(options.profile);
  const witnesses = await readWitnessing(options.witnessPolicy ?? 'none', trust.keys);
  await using rows = new Spool();
  let [decisions, matching] = [0, 0];
  const outcome = await runAudit(options, trust, {
    entry: async (followed) => {
      if (followed.entry.type === 'decision') decisions += 1;
      const row = queryDecision(filter, followed);
      if (row === undefined) return;
      matching += 1;
      await rows.append(JSON.stringify(row));
    },
  });
  if (options.csv === true) await printCsv(rows, outcome);
  else if (options.json === true) await printJson(rows, outcome, filter);
  else await printText(rows);
  const { size, root } = outcome.checkpoint;
  remark(
    `${matching} of ${decisions} decisions, of all entries from 0 to ${size - 1n} under root ${toHex(root)}`,
  );
  await concludeAudit(outcome, options, witnesses);
}

function collectPhases(text: string, earlier: readonly string[] = []): readonly string[] {
  if (phaseField.safeParse(text).success) return [...earlier, text];
  throw new InvalidArgumentError(`It must be one of ${PHASES.join(', ')}.`);
}

const several = (flags: string, description: string): Option =>
  new Option(flags, `${description}; several times`).argParser(collect);

/** `weightgate audit query`: which decisions of a verified log fit a question. */
export function registerAuditQuery(audit: Command): void {
  const command = audit
    .command('query')
    .description(
      'list the decisions of the verified log that fit, with the range of entries they are complete over',
    );
  addLogSourceOptions(command)
    .addOption(several('--model <digest-or-name>', 'manifest digest, or name of a registered model'))
    .addOption(several('--lab <lab>', 'a lab'))
    .addOption(several('--phase <phase>', 'phase of the model version at that time').argParser(collectPhases))
    .addOption(new Option('--outcome <outcome>', 'how it was decided').choices(['granted', 'refused']))
    .addOption(several('--code <code>', 'code of a refusal'))
    .addOption(several('--device-class <class>', 'a class of device that took part'))
    .addOption(new Option('--since <time>', 'from this day or time on (UTC)').argParser(parseTime))
    .addOption(new Option('--until <time>', 'before this day or time (UTC)').argParser(parseTime))
    .option('--state <file>', 'remember what was verified, and refuse a log that contradicts it')
    .option(
      '--witness-policy <file>',
      'demand the quorum of this policy for the checkpoint (C2SP tlog-policy)',
    )
    .addOption(new Option('--csv', 'a table for spreadsheets').conflicts(['json']))
    .option('--json', 'one JSON document')
    .action(query);
}
