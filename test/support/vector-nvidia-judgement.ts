/**
 * How a result of this project's verifiers is held against what the manifest says of a vector or of a mutant. The manifest names
 * checks, this project refuses with codes: each kind of vector has one table from the one to the other, and a refusal counts
 * only when it is the refusal of a check that the manifest says fails.
 */

import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Verdict } from '../../attestation/core/verdict.ts';
import type { NvidiaCase } from './vector-nvidia-case.ts';
import type { NvidiaMutation } from './vector-nvidia-manifest.ts';
import type { VectorLine } from './vector-runner.ts';

/** Refusal codes by the manifest's name of the check; a `*` at the end stands for all codes that begin so. */
export type CheckTable = Readonly<Record<string, readonly string[]>>;

/** What the manifest states, or what was read, by the names of the manifest. */
export type Members = Readonly<Record<string, unknown>>;

/** One kind of vector: what its checks are called here, what is asked, and what else the manifest states of it. */
export interface KindJudge<Subject extends NvidiaCase = NvidiaCase> {
  readonly checks: CheckTable;
  /** What of it is not judged here, and why; printed on the line of the verdict. */
  readonly unjudged?: string;
  /** What must come out of the vector, where its verdict and failing checks do not say all of it. */
  expectation?(subject: Subject): Expectation;
  /** Codes of the refusals, none when it is accepted. Anything thrown but a refusal is a defect and ends the run. */
  refusals(subject: Subject): Promise<readonly string[]>;
  /** Checks that are made together: where one of them refuses, all of them that must fail have to. */
  readonly together?: readonly string[];
  /** Whether a check fails by itself, for those behind another one that refused before them. */
  failsAlone?(subject: Subject, check: string): Promise<boolean>;
  /** Lines beside the verdict on a vector as it is. */
  facts?(subject: Subject): AsyncIterable<VectorLine>;
}

/** What must come out. */
export interface Expectation {
  readonly outcome: 'accepted' | 'refused' | 'accepted or refused';
  /** One of these checks is what must refuse. */
  readonly mustFail: readonly string[];
  /** All that do not hold, of which an earlier one may refuse in the place of those. */
  readonly allFailing: readonly string[];
}

/** Verdicts under which this project, without a word of its policy, has to accept. */
const ACCEPTING: ReadonlySet<string> = new Set([
  'accept',
  'accept-evidence',
  'accept-binding',
  'accept-signature-only',
  'accept-token-but-see-topology',
  'good-within-window',
  'parse-only',
  'match',
]);
/** Those under which it has to refuse; the last two are for policies that loosen a check by name. */
const REFUSING: ReadonlySet<string> = new Set([
  'reject',
  'mismatch',
  'match-vbios-only',
  'reject-or-policy',
  'accept-evidence-if-zero-padding-tolerated',
]);

/** @throws Error for a verdict that nobody here knows */
export function expectationOfVector({ vector }: NvidiaCase): Expectation {
  const { verdict, failing } = vector.expect;
  if (!ACCEPTING.has(verdict) && !REFUSING.has(verdict))
    throw new Error(`${vector.id}: no verdict ${verdict}`);
  const outcome = ACCEPTING.has(verdict) ? 'accepted' : 'refused';
  return { outcome, mustFail: failing, allFailing: failing };
}

export function expectationOfMutation({ expect }: NvidiaMutation, base: Expectation): Expectation {
  if (expect.verdict === 'same as base') return base;
  return {
    outcome: expect.verdict === 'reject' ? 'refused' : 'accepted or refused',
    mustFail: expect.must_fail,
    allFailing: expect.all_failing,
  };
}

/** The codes with which work refuses, thrown or as a verdict; none when it does not. */
export async function refusalsOf(work: () => unknown): Promise<readonly string[]> {
  try {
    const result = await work();
    return isRefused(result) ? result.refusals.map(({ code }) => code) : [];
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return [error.refusal.code];
  }
}

function isRefused(result: unknown): result is Extract<Verdict<object>, { outcome: 'refused' }> {
  return typeof result === 'object' && result !== null && 'outcome' in result && result.outcome === 'refused';
}

/** The checks that a code is about. */
function checksOf(code: string, table: CheckTable): readonly string[] {
  const isOf = (pattern: string): boolean =>
    pattern.endsWith('*') ? code.startsWith(pattern.slice(0, -1)) : code === pattern;
  return Object.entries(table).flatMap(([check, patterns]) => (patterns.some(isOf) ? [check] : []));
}

/**
 * The line about one result.
 *
 * @throws Error for a check of the manifest that the table does not have
 */
export function verdictLine(
  subject: string,
  expectation: Expectation,
  codes: readonly string[],
  table: CheckTable,
  together: readonly string[] = [],
): VectorLine {
  const { outcome, mustFail, allFailing } = expectation;
  const stranger = [...mustFail, ...allFailing].find((check) => !Object.hasOwn(table, check));
  if (stranger !== undefined) throw new Error(`${subject}: no codes for the check ${stranger}`);
  const failed = [...new Set(codes.flatMap((code) => checksOf(code, table)))];
  const wanted = mustFail.length === 0 ? '' : ` by ${mustFail.join(' or ')}`;
  const line = {
    subject,
    expected: `${outcome}${wanted}`,
    got: codes.length === 0 ? 'accepted' : `refused by ${failed.join(', ') || 'something else'}`,
    code: [...new Set(codes)].join(' ') || '-',
  };
  if (outcome === 'accepted or refused') return { ...line, agrees: true };
  if (outcome === 'accepted' || codes.length === 0)
    return { ...line, agrees: (outcome === 'accepted') === (codes.length === 0) };
  const isNamed = mustFail.length === 0 || mustFail.some((check) => failed.includes(check));
  const isMadeTogether = failed.some((check) => together.includes(check));
  const missed = mustFail.filter((check) => together.includes(check) && !failed.includes(check));
  return { ...line, agrees: isNamed && !(isMadeTogether && missed.length > 0) };
}

/** Why a refusal counts although it is not that of a named check: it came before that one, which fails by itself. */
export async function explainOrder<Subject extends NvidiaCase>(
  line: VectorLine,
  { mustFail, allFailing }: Expectation,
  judge: Pick<KindJudge<Subject>, 'checks' | 'failsAlone'>,
  subject: Subject,
): Promise<VectorLine> {
  const failed = line.code.split(' ').flatMap((code) => checksOf(code, judge.checks));
  const earlier = allFailing.find((check) => failed.includes(check));
  if (line.agrees || earlier === undefined) return line;
  for (const check of mustFail) {
    if ((await judge.failsAlone?.(subject, check)) !== true) continue;
    return {
      ...line,
      explanation: `${earlier} fails too and is looked at before ${check}, which fails by itself`,
    };
  }
  return line;
}

/** What the manifest calls a check that does not hold, where it says more than true or false. */
const FAILED: ReadonlySet<unknown> = new Set([false, 'absent', 'mismatch']);

/** The line about the checks that the manifest states one by one: those that fail must be those of its verdict. */
export function failingLine({ vector: { id, checks, expect } }: NvidiaCase): VectorLine {
  const failed = Object.keys(checks).filter((check) => FAILED.has(checks[check]));
  const [expected, got] = [expect.failing, failed].map((names) => names.toSorted().join(' ') || 'none');
  return {
    subject: `${id}#checks`,
    expected: `failing: ${expected ?? ''}`,
    got: `failing: ${got ?? ''}`,
    code: '-',
    agrees: expected === got,
  };
}

/** A line about members, with the names of those in which the two differ. */
export interface MembersLine extends VectorLine {
  readonly differing: readonly string[];
}

/**
 * A line about stated members: those in which the two differ are named. What this project does not read at all, because of a
 * check that fails as stated, has no members to compare.
 */
export async function membersLine(
  subject: string,
  expected: Members,
  read: () => Members,
  { failing, table }: { readonly failing: readonly string[]; readonly table: CheckTable },
): Promise<MembersLine> {
  let found: Members = {};
  const codes = await refusalsOf(() => void (found = read()));
  const line = { subject, expected: `${Object.keys(expected).length} members`, code: codes.join(' ') || '-' };
  if (codes.length > 0) {
    const stated = failing.filter((check) => codes.some((code) => checksOf(code, table).includes(check)));
    return {
      ...line,
      got: `not read: ${stated.join(', ') || 'refused'}`,
      agrees: stated.length > 0,
      differing: [],
    };
  }
  const names = new Set([...Object.keys(expected), ...Object.keys(found)]);
  const differing = [...names].filter((name) => canonical(expected[name]) !== canonical(found[name]));
  const got = differing.length === 0 ? 'all of them' : `not ${differing.join(', ')}`;
  return { ...line, got, agrees: differing.length === 0, differing };
}

/** JSON with the members of objects in one order, so that texts can be compared; absent is not the same as null. */
function canonical(value: unknown): string | undefined {
  return JSON.stringify(value, (_name, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}
