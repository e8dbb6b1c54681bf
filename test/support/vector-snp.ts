/** The class of vectors `snp`: reports of AMD SEV-SNP with their certificates, format `snp-vectors/1`. */

import { AZURE_RULES, azureLine } from './vector-snp-azure.ts';
import { auxblobLine, COLLATERAL_RULES, TABLE_RULES } from './vector-snp-collateral.ts';
import type { CollateralSubject } from './vector-snp-collateral.ts';
import { REPORT_RULES } from './vector-snp-edits.ts';
import type { EditCase, EditRule, EditSubject, Expectation } from './vector-snp-edits.ts';
import { certificateFields, differingMembers, reportFields } from './vector-snp-fields.ts';
import { LOOKALIKE_RULES } from './vector-snp-lookalike.ts';
import { readSnpManifest } from './vector-snp-manifest.ts';
import type { SnpMutation, SnpVector } from './vector-snp-manifest.ts';
import { MEASUREMENT_RULES, measurementLine } from './vector-snp-measurement.ts';
import { observationCodes, observe } from './vector-snp-observations.ts';
import { ask, outcomeOf, questionOf, snpFile } from './vector-snp-question.ts';
import type { Outcome, SnpSet } from './vector-snp-question.ts';
import type { VectorClass, VectorLine } from './vector-runner.ts';

export const sevSnpVectors: VectorClass = {
  name: 'snp',
  async *judge(folder) {
    const set = { folder, manifest: readSnpManifest(folder.manifest) };
    for (const vector of set.manifest.vectors) yield* judgeVector(set, vector);
    for (const mutation of set.manifest.mutations) yield* judgeMutation(set, mutation);
  },
};

async function* judgeVector(set: SnpSet, vector: SnpVector): AsyncIterable<VectorLine> {
  const { expected } = vector;
  const encoding = expected.endorsement_cert['struct_version'] === 1 ? 'turin' : 'milan';
  const question = questionOf(set, vector);
  yield await fieldsLine(`${vector.id}#report`, expected.report, () =>
    reportFields(question.report, encoding),
  );
  yield await fieldsLine(`${vector.id}#certificate`, expected.endorsement_cert, () =>
    certificateFields(snpFile(set, vector.files.endorsement_cert)),
  );
  yield caseLine(vector.id, verdictOf(vector), await ask(question));
  const stated = observationCodes(expected.verdict.observations);
  const observed = await observe(question, stated);
  yield {
    subject: `${vector.id}#observations`,
    expected: stated.join(' ') || 'none',
    got: observed.join(' ') || 'none',
    code: '-',
    agrees: stated.join() === observed.join(),
  };
  if (vector.files.auxblob !== undefined) yield await auxblobLine(set, vector, question);
  if (vector.files.measurement_inputs !== undefined) yield measurementLine(set, vector);
  if (vector.files.hcl_report !== undefined) yield await azureLine(set, vector, question);
}

async function fieldsLine(
  subject: string,
  expected: Readonly<Record<string, unknown>>,
  read: () => Readonly<Record<string, unknown>>,
): Promise<VectorLine> {
  let differing: readonly string[] = [];
  const { codes } = await outcomeOf(() => void (differing = differingMembers(expected, read())));
  const got =
    codes.length > 0 ? 'refused' : differing.length === 0 ? 'all of them' : `not ${differing.join(', ')}`;
  return {
    subject,
    expected: `${Object.keys(expected).length} members`,
    got,
    code: codes.join(' ') || '-',
    agrees: codes.length === 0 && differing.length === 0,
  };
}

/** What must come out: facts that do not hold make it inauthentic; then come the floors, which no policy loosens. */
function verdictOf({ expected: { report, verdict } }: SnpVector): Expectation {
  const { product_line_from_cpuid: line, product_line_from_issuer: issuer } = verdict;
  const isAuthentic =
    verdict.report_signature_valid &&
    verdict.chain_signatures_valid &&
    verdict.cert_tcb_equals_reported_tcb &&
    /^(?:match|not-applicable)/.test(verdict.chip_id_vs_hwid) &&
    (line === null || line === issuer) &&
    report['reserved_all_zero'] === true;
  if (!isAuthentic) return 'not authentic';
  const policy = report['policy'] as Readonly<Record<string, unknown>>;
  const isFloored =
    policy['debug'] === true ||
    policy['migrate_ma'] === true ||
    policy['reserved17'] !== 1 ||
    Number(report['vmpl']) > 3 ||
    !/^(?:ff)+$/.test(String(report['report_id_ma'])) ||
    /^0+$/.test(String(report['report_data']));
  return isFloored ? 'refused' : 'accepted';
}

async function* judgeMutation(set: SnpSet, mutation: SnpMutation): AsyncIterable<VectorLine> {
  let isUnderstood = false;
  for await (const line of mutationLines(set, mutation)) {
    isUnderstood = true;
    yield line;
  }
  if (isUnderstood) return;
  yield {
    subject: `${mutation.base}~${mutation.id}`,
    expected: mutation.expect,
    got: `no rule for the edit: ${mutation.edit}`,
    code: '-',
    agrees: false,
  };
}

async function* mutationLines(set: SnpSet, mutation: SnpMutation): AsyncIterable<VectorLine> {
  for (const vector of set.manifest.vectors) {
    if (mutation.base !== 'every vector' && mutation.base !== vector.id) continue;
    const subject = { set, vector, mutation, question: questionOf(set, vector) };
    const before = await ask(subject.question);
    const rules = [...REPORT_RULES, ...TABLE_RULES, ...MEASUREMENT_RULES, ...AZURE_RULES];
    for (const edit of editCases<EditSubject>(rules, subject, mutation)) {
      yield await editLine(`${vector.id}~${mutation.id}`, edit, before);
    }
  }
  const collateral: CollateralSubject = { set, mutation };
  const rules = [...COLLATERAL_RULES, ...LOOKALIKE_RULES];
  for (const edit of editCases(rules, collateral, mutation)) {
    yield await editLine(`${mutation.base}~${mutation.id}`, edit, undefined);
  }
}

function editCases<Subject>(
  rules: readonly EditRule<Subject>[],
  subject: Subject,
  { edit }: SnpMutation,
): readonly EditCase[] {
  for (const { phrase, cases } of rules) {
    const match = phrase.exec(edit);
    if (match !== null) return cases(match, subject);
  }
  return [];
}

async function editLine(
  subject: string,
  { label, expected, judge }: EditCase,
  before: Outcome | undefined,
): Promise<VectorLine> {
  return caseLine(label === '' ? subject : `${subject}/${label}`, expected, await judge(), before);
}

function caseLine(subject: string, expected: Expectation, outcome: Outcome, before?: Outcome): VectorLine {
  const { family, codes } = outcome;
  return {
    subject,
    expected,
    got: family,
    code: codes.join(' ') || '-',
    agrees: meets(expected, outcome, before),
  };
}

function meets(expected: Expectation, { family, codes }: Outcome, before: Outcome | undefined): boolean {
  if (expected === 'accepted') return family === 'accepted';
  if (expected === 'refused') return family !== 'accepted';
  if (expected === 'not authentic') return family === 'malformed' || family === 'inauthentic';
  return family === before?.family && codes.join() === before.codes.join();
}
