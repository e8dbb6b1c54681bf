import type { Command } from 'commander';

import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { DecisionReplay, REPLAY_VERDICTS, type ReplayedDecision } from '../../audit/replay.ts';
import { legible } from '../../platform/legible.ts';
import { Spool } from '../../platform/spool.ts';
import { openReleasePolicyEngine } from '../../policy/release-policy.ts';
import { authorityLines } from '../../server/decision-inputs.ts';
import { Rederivation } from '../../server/rederivation.ts';
import { concludeAudit, isoTime, runAudit } from '../audit-report.ts';
import { addDerivingOptions, decisionOf, withStores, type DerivingOptions } from '../deriving-options.ts';
import { logTrustOf } from '../log-copy.ts';
import { print, printPiece, remark } from '../options.ts';
import { readWitnessing } from '../witness-policy.ts';

export const replayRefusals = defineRefusals('unacceptable', {
  'replay-differs': {
    means: 'A logged decision does not follow from what its server kept of it.',
    hint: 'Keep log and store as they are, and ask the operator to explain the decisions that were named.',
  },
});

export const incompleteReplayRefusals = defineRefusals('unavailable', {
  'replay-incomplete': {
    means: 'Nothing that was derived differs, but not every decision could be derived again.',
    hint: 'Ask the operator for the evidence stores of all servers of the log. What retention deleted cannot be had any more.',
  },
});

function countsText({ counts }: DecisionReplay): string {
  return REPLAY_VERDICTS.map((verdict) => `${counts[verdict]} ${verdict}`).join(', ');
}

function line(decision: ReplayedDecision): string {
  const { index, at, lab, outcome, serverBuild, verdict, members, reason } = decision;
  const what = members.length === 0 ? '' : ` in ${members.join(', ')}`;
  const why = reason === '' ? '' : `: ${reason} (decided by ${serverBuild})`;
  return `${verdict.padEnd(7)}  ${String(index).padStart(6)}  ${isoTime(at)}  ${outcome.padEnd(7)}  ${lab}${what}${why}`;
}

/** Whether these are the vendor's authorities is for who reads it to compare (RD-5). */
function remarkAuthorities(replay: DecisionReplay, { authorities }: Rederivation): void {
  for (const [digest, decisions] of replay.authorities) {
    remark(`${decisions} decisions rest on the authorities ${digest}:`);
    for (const text of authorityLines(authorities.get(digest) ?? new Map())) remark(`  ${text}`);
  }
}

async function printDocument(rows: Spool, replay: DecisionReplay): Promise<void> {
  const { counts, authorities } = replay;
  const head = { version: 1, counts, authorities: Object.fromEntries(authorities) };
  printPiece(`${JSON.stringify(head).slice(0, -1)},"decisions":[`);
  let separator = '';
  for await (const row of rows.lines()) {
    printPiece(`${separator}${row}`);
    separator = ',';
  }
  print(']}');
}

async function replayLog(options: DerivingOptions): Promise<void> {
  const trust = await logTrustOf(options.profile);
  const witnesses = await readWitnessing(options.witnessPolicy ?? 'none', trust.keys);
  const engine = await openReleasePolicyEngine();
  const asJson = options.json === true;
  await using rows = new Spool();
  await withStores(options, async (stores) => {
    const rederivation = new Rederivation(stores, engine);
    const replay = new DecisionReplay(rederivation);
    let differing: number | undefined;
    const outcome = await runAudit(options, trust, {
      entry: async (followed) => {
        const decision = decisionOf(followed);
        if (decision === undefined) return;
        const replayed = await replay.take(decision);
        if (replayed.verdict === 'differs') differing ??= replayed.index;
        await rows.append(asJson ? JSON.stringify(replayed) : legible(line(replayed)));
      },
    });
    if (asJson) await printDocument(rows, replay);
    else for await (const row of rows.lines()) print(row);
    remarkAuthorities(replay, rederivation);
    remark(`decisions: ${countsText(replay)}`);
    refuseDifferent(replay, differing);
    await concludeAudit(outcome, options, witnesses);
    refuseIncomplete(replay);
  });
}

function refuseDifferent(replay: DecisionReplay, differing: number | undefined): void {
  if (differing === undefined) return;
  const expected = 'the entry that its inputs lead to';
  const facts = { field: `entry ${differing}`, expected, found: countsText(replay) };
  throw replayRefusals.error('replay-differs', facts);
}

/** Green only when there is a decision, and every one was derived again and is the same (RD-8). */
function refuseIncomplete(replay: DecisionReplay): void {
  const { same, deleted, missing, unkept } = replay.counts;
  if (same > 0 && deleted + missing + unkept === 0) return;
  const expected = 'at least one decision, and each derived again';
  const facts = { field: 'decisions', expected, found: countsText(replay) };
  throw incompleteReplayRefusals.error('replay-incomplete', facts);
}

/** `weightgate audit replay`: derives every decision again from what the server kept of it. */
export function registerAuditReplay(audit: Command): void {
  const command = audit
    .command('replay')
    .description('derive every decision again from log and evidence store, and compare it bit for bit');
  addDerivingOptions(command).action(replayLog);
}
