/** `weightgate reference diff`: what a change of reference values changes, and what it would have meant. */

import type { Command } from 'commander';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { referenceImpact, type ReferenceImpact, type TouchedDecision } from '../audit/reference-decisions.ts';
import type { DeviceClaims } from '../governance/entries.ts';
import { issueOf } from '../governance/reference-values.ts';
import { readStatement } from '../governance/statements.ts';
import { DEVICE_CLASSES } from '../server/device-classes.ts';
import { usageRefusals } from './failure.ts';
import { logTrustOf, withLogCopy } from './log-copy.ts';
import { print } from './options.ts';
import { differences, type Difference } from './reference-difference.ts';
import { checkReferenceDocument, readReferenceDocument } from './reference-documents.ts';

interface DiffOptions {
  readonly log?: string;
  readonly profile?: string;
  readonly json?: true;
}

/** What the log cannot tell, said in so many words (GV-66). */
const EVIDENCE_NOTE =
  'the log holds claims of grants and digests of evidence, not the evidence: an answer is judged by the logged claims ' +
  'alone, and is open where they do not tell; a server keeps each request under its digest (RP-34)';

/** One side: the values, and what a statement says around them. */
interface Side {
  readonly deviceClass: string;
  readonly values: JsonValue;
  /** Empty for a document without a statement. */
  readonly statement: Readonly<Record<string, JsonValue>>;
}

/** @param path a reference document, or a statement as `--statement` writes it */
export async function readReferenceSide(path: string): Promise<Side> {
  const document = await readReferenceDocument(path);
  if (typeof document !== 'object' || document === null || !('predicateType' in document)) {
    return { deviceClass: checkReferenceDocument(document), values: document, statement: {} };
  }
  const { name, predicate } = readStatement(encodeCanonicalJson(document));
  if (name !== 'reference-values/v1' && name !== 'reference-values/v2') {
    throw refuseArgument(path, 'a statement about reference values', name);
  }
  const { values, deviceClass, ...statement } = issueOf(predicate);
  checkReferenceDocument(values);
  return { deviceClass, values, statement };
}

function refuseArgument(field: string, expected: string, found: string): Error {
  return usageRefusals.error('argument-invalid', { field, expected, found });
}

/** The device that binds the others, or the only one (GV-65). */
function speakerOf(claims: readonly DeviceClaims[]): string {
  const binding = claims.find((device) => DEVICE_CLASSES.get(device.class)?.bindsCompanions === true);
  const speaker = binding ?? claims[0];
  if (speaker === undefined) return '';
  const { identity } = speaker.claims as Readonly<Record<string, JsonValue>>;
  return `${speaker.class}/${typeof identity === 'string' ? identity : ''}`;
}

async function readImpact(old: Side, next: Side, options: DiffOptions): Promise<ReferenceImpact | null> {
  const { log, profile } = options;
  if (log === undefined) return null;
  if (profile === undefined) throw refuseArgument('--profile', 'the profile that pins the log', 'none');
  const { deviceClass } = old;
  const change = { deviceClass, old: old.values, new: next.values, speakerOf };
  const trust = await logTrustOf(profile);
  return await withLogCopy(log, trust, (source) => referenceImpact(source, trust, change));
}

async function showDiff(oldPath: string, newPath: string, options: DiffOptions): Promise<void> {
  if ((options.log === undefined) !== (options.profile === undefined)) {
    throw refuseArgument('--log', 'a log together with the profile that pins it', 'one without the other');
  }
  const [old, next] = [await readReferenceSide(oldPath), await readReferenceSide(newPath)];
  if (old.deviceClass !== next.deviceClass) {
    throw refuseArgument(newPath, `values of the class ${old.deviceClass}`, next.deviceClass);
  }
  const statement = differences(old.statement, next.statement);
  const values = differences(old.values, next.values);
  const impact = await readImpact(old, next, options);
  if (options.json === true) print(JSON.stringify(diffDocument(old, statement, values, impact)));
  else for (const line of diffLines(old, statement, values, impact)) print(line);
}

function diffDocument(
  { deviceClass }: Side,
  statement: readonly Difference[],
  values: readonly Difference[],
  impact: ReferenceImpact | null,
): object {
  const head = { version: 1, class: deviceClass, statement, values };
  if (impact === null) return { ...head, log: null };
  const { checkpoint, statements, decisions, touched } = impact;
  const { origin, size } = checkpoint;
  const log = { origin, size: size.toString(), statements, decisions, touched, evidence: EVIDENCE_NOTE };
  return { ...head, log };
}

function diffLines(
  { deviceClass }: Side,
  statement: readonly Difference[],
  values: readonly Difference[],
  impact: ReferenceImpact | null,
): readonly string[] {
  const count = (change: Difference['change']): number =>
    values.filter((row) => row.change === change).length;
  return [
    ...statement.map((row) => differenceLine(row, 'statement.')),
    ...values.map((row) => differenceLine(row, '')),
    `${deviceClass}: ${count('added')} added, ${count('removed')} removed, ${count('changed')} changed`,
    ...(impact === null ? [] : impactLines(impact)),
  ];
}

function differenceLine({ path, change, old, new: next }: Difference, prefix: string): string {
  const text = (value: JsonValue): string => (typeof value === 'string' ? value : JSON.stringify(value));
  const values = { added: text(next), removed: text(old), changed: `${text(old)} -> ${text(next)}` };
  return `${change.padEnd(7)}  ${prefix}${path}  ${values[change]}`;
}

function impactLines({ checkpoint, statements, decisions, touched }: ReferenceImpact): readonly string[] {
  const count = (answer: TouchedDecision['answer']): number =>
    touched.filter((decision) => decision.answer === answer).length;
  return [
    '',
    `log: ${checkpoint.size} entries of ${checkpoint.origin}, verified; ${decisions} decisions`,
    ...statements.map((digest) => `old values stated by ${digest}`),
    ...touched.map(decisionLine),
    `${touched.length} decisions while the old values stood: ${count('turns')} turn, ${count('holds')} hold, ${count('open')} open`,
    `note: ${EVIDENCE_NOTE}`,
  ];
}

function decisionLine(decision: TouchedDecision): string {
  const { index, at, lab, outcome, answer, reason, referenceValuesDigest } = decision;
  const time = new Date(at * 1000).toISOString().slice(0, 19);
  const digest = referenceValuesDigest.slice(0, 16);
  return `${answer.padEnd(5)}  ${String(index).padStart(6)}  ${time}Z  ${outcome.padEnd(7)}  ${lab}  by ${digest}: ${reason}`;
}

export function registerDiff(reference: Command): void {
  reference
    .command('diff <old> <new>')
    .description('what a change of reference values changes; documents, or statements of --statement')
    .option('--log <dir>', 'copy of a log: which of its decisions the change would have turned')
    .option('--profile <file>', 'server profile that pins that log')
    .option('--json', 'one JSON document in place of lines')
    .action(showDiff);
}
