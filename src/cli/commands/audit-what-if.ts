import { InvalidArgumentError, type Command } from 'commander';

import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { WhatIf, type Consequence } from '../../audit/what-if.ts';
import { systemClock } from '../../platform/clock.ts';
import { legible } from '../../platform/legible.ts';
import { Spool } from '../../platform/spool.ts';
import { openReleasePolicyEngine } from '../../policy/release-policy.ts';
import { Rederivation } from '../../server/rederivation.ts';
import { collect } from '../arguments.ts';
import { concludeAudit, isoTime, runAudit } from '../audit-report.ts';
import { addDerivingOptions, decisionOf, withStores, type DerivingOptions } from '../deriving-options.ts';
import { logTrustOf } from '../log-copy.ts';
import { print, printPiece, remark } from '../options.ts';
import { readChanges, REVOCABLE, type ChangeOptions } from '../what-if-arguments.ts';
import { readWitnessing } from '../witness-policy.ts';

export const whatIfRefusals = defineRefusals('usage', {
  'what-if-idle': {
    means: 'A change names something that no decision of the log was made with.',
    hint: 'Check the name: an answer that nothing is touched would be worth nothing.',
  },
});

export const openWhatIfRefusals = defineRefusals('unavailable', {
  'what-if-open': {
    means: 'What a change means is not known for every decision: some could not be derived again.',
    hint: 'The listed decisions hold. Ask the operator for the evidence stores of all servers of the log.',
  },
});

interface WhatIfOptions extends DerivingOptions, ChangeOptions {
  readonly at?: number;
}

/** How many decisions there are, and what became of them. */
interface Tally {
  decisions: number;
  turned: number;
  open: number;
  /** Leases of those that turn or are open. */
  running: number;
}

type Touched = Exclude<Consequence, { readonly answer: 'holds' }>;

/** POSIX seconds, or a time as an audit prints it. */
function parseTime(text: string): number {
  if (/^[0-9]{1,11}$/.test(text)) return Number(text);
  const isTime = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/.test(text);
  const milliseconds = isTime ? Date.parse(text) : Number.NaN;
  if (Number.isFinite(milliseconds)) return milliseconds / 1000;
  throw new InvalidArgumentError('It must be POSIX seconds, or a time like 2026-11-21T03:19:23Z.');
}

function line(touched: Touched): string {
  const { index, at, lab, isRunning } = touched;
  const what =
    touched.answer === 'open' ? `${touched.outcome} -> not known` : `${touched.logged} -> ${touched.derived}`;
  const running = isRunning ? '; its lease runs' : '';
  return `${touched.answer.padEnd(5)}  ${String(index).padStart(6)}  ${isoTime(at)}  ${lab}: ${what}${running}`;
}

function count(tally: Tally, consequence: Consequence): void {
  tally.decisions += 1;
  if (consequence.answer === 'holds') return;
  if (consequence.answer === 'turns') tally.turned += 1;
  else tally.open += 1;
  if (consequence.isRunning) tally.running += 1;
}

async function printDocument(rows: Spool, tally: Tally, at: number): Promise<void> {
  printPiece(`${JSON.stringify({ version: 1, at, ...tally }).slice(0, -1)},"touched":[`);
  let separator = '';
  for await (const row of rows.lines()) {
    printPiece(`${separator}${row}`);
    separator = ',';
  }
  print(']}');
}

function refuseIdle(names: readonly string[]): void {
  const [name] = names;
  if (name === undefined) return;
  const facts = { field: 'what-if', expected: 'changes of what the log has', found: name };
  throw whatIfRefusals.error('what-if-idle', facts);
}

function refuseOpen({ open, decisions }: Tally): void {
  if (open === 0) return;
  const found = `${open} of ${decisions} not known`;
  const facts = { field: 'what-if', expected: 'every decision derived again', found };
  throw openWhatIfRefusals.error('what-if-open', facts);
}

async function answerWhatIf(options: WhatIfOptions): Promise<void> {
  const { changes, authorities } = await readChanges(options);
  const at = options.at ?? systemClock.posixSeconds();
  const trust = await logTrustOf(options.profile);
  const witnesses = await readWitnessing(options.witnessPolicy ?? 'none', trust.keys);
  const engine = await openReleasePolicyEngine();
  const asJson = options.json === true;
  const tally: Tally = { decisions: 0, turned: 0, open: 0, running: 0 };
  await using rows = new Spool();
  await withStores(options, async (stores) => {
    const rederivation = new Rederivation(stores, engine, authorities);
    const whatIf = new WhatIf(rederivation, changes, at);
    const outcome = await runAudit(options, trust, {
      entry: async (followed) => {
        const decision = decisionOf(followed);
        if (decision === undefined) return;
        const consequence = await whatIf.take(decision);
        count(tally, consequence);
        if (consequence.answer === 'holds') return;
        await rows.append(asJson ? JSON.stringify(consequence) : legible(line(consequence)));
      },
    });
    const missed = [...authorities].filter((name) => !rederivation.authoritiesLeftOut.has(name));
    refuseIdle([...whatIf.idle.map(({ text }) => text), ...missed.map((name) => `authority ${name}`)]);
    if (asJson) await printDocument(rows, tally, at);
    else for await (const row of rows.lines()) print(row);
    remark(
      `${tally.decisions} decisions: ${tally.turned} come out differently, ${tally.open} not known; ` +
        `${tally.running} leases of these run at ${isoTime(at)}`,
    );
    await concludeAudit(outcome, options, witnesses);
    refuseOpen(tally);
  });
}

/** `weightgate audit what-if`: which decisions a change would have turned, and which leases of them run. */
export function registerAuditWhatIf(audit: Command): void {
  const command = audit
    .command('what-if')
    .description('which decisions a change would have turned, and which leases of them still run');
  addDerivingOptions(command)
    .option(
      '--policy <file...>',
      'another release policy: a statement, or settings and Cedar files as for `policy publish`',
    )
    .option(
      '--reference <file...>',
      'other reference values: the old and the new ones, or a statement that is added',
    )
    .option('--revoke <kind=value>', `what is not to count: ${REVOCABLE.join(', ')}; several times`, collect)
    .option('--at <time>', 'when leases are to run, in place of now', parseTime)
    .action(answerWhatIf);
}
