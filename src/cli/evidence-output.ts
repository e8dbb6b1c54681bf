/** How `weightgate evidence` shows what was found: a checklist or lines for people, one JSON document for programs. */

import { toHex } from '../../attestation/core/bytes.ts';
import { RefusalError, type Refusal, type RefusalFamilyName } from '../../attestation/core/refusal.ts';
import type { Check, Refused } from '../../attestation/core/verdict.ts';
import type { UnjudgedCheck } from '../../attestation/sev-snp/verify.ts';
import { print } from './options.ts';

/** How a verification of any kind ended. */
export type Judgement =
  | { readonly outcome: 'accepted'; readonly claims: object; readonly checks: readonly Check[] }
  | {
      readonly outcome: 'inspected';
      readonly claims: object;
      readonly checks: readonly (Check | UnjudgedCheck)[];
    }
  | Refused;

/** What the outcome is called. Who did not say what to expect is told so in the verdict itself. */
const VERDICTS = { accepted: 'accepted', inspected: 'freshness-not-judged', refused: 'refused' } as const;

const MARKS = { passed: 'pass', failed: 'FAIL', unjudged: 'open' } as const;

/**
 * Prints a judgement.
 *
 * @throws RefusalError the first refusal, so that the command ends with its exit code (CL-1)
 */
export function showJudgement(judgement: Judgement, json: boolean): void {
  if (json) print(JSON.stringify(judgementDocument(judgement)));
  else for (const line of checklist(judgement)) print(line);
  if (judgement.outcome === 'refused') throw refusalOf(judgement.family, judgement.refusals);
}

function refusalOf(family: RefusalFamilyName, [first]: readonly [Refusal, ...Refusal[]]): RefusalError {
  return new RefusalError(family, first);
}

function judgementDocument(judgement: Judgement) {
  const { outcome, checks } = judgement;
  const verdict = VERDICTS[outcome];
  return outcome === 'refused'
    ? { verdict, code: judgement.refusals[0].code, claims: null, checks, refusals: judgement.refusals }
    : { verdict, code: null, claims: judgement.claims, checks, refusals: [] };
}

function checklist(judgement: Judgement): readonly string[] {
  const { outcome, checks } = judgement;
  const lines = checks.flatMap((check) => [
    `${MARKS[check.outcome]}  ${check.id}  ${check.field}`,
    `      expected  ${check.expected}`,
    `      found     ${check.found}`,
    `      without   ${check.protects}`,
  ]);
  return [...lines, ...(outcome === 'refused' ? uncheckedRefusals(judgement) : []), conclusion(judgement)];
}

/** What refused without being a check, such as bytes that could not be read. */
function uncheckedRefusals({ refusals, checks }: Refused): readonly string[] {
  const others = refusals.filter(({ code }) => !checks.some(({ id }) => id === code));
  return others.flatMap(({ code, field, expected, found }) => [
    `FAIL  ${code}  ${field}`,
    `      expected  ${expected}`,
    `      found     ${found}`,
  ]);
}

function conclusion({ outcome, checks }: Judgement): string {
  const passed = checks.filter((check) => check.outcome === 'passed').length;
  const count = `${passed} of ${checks.length} checks passed`;
  if (outcome !== 'inspected') return `verdict: ${outcome} (${count})`;
  return `verdict: freshness was not judged (${count}): nobody said what this was made for, so it may be an old one`;
}

/** Values as people read them: bytes in hex, and bit fields as numbers in hex. */
export function readable(value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (value instanceof Map) return readable(Object.fromEntries(value));
  if (value instanceof Set) return readable([...(value as Set<unknown>)]);
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== 'object' || value === null) return value ?? null;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, readable(member)]));
}

/** Prints facts that nobody has judged. */
export function showFacts(facts: object, json: boolean): void {
  const document = readable(facts);
  if (json) print(JSON.stringify(document));
  else for (const [path, text] of flattened(document, '')) print(`${path.padEnd(40)}  ${text}`);
}

function flattened(value: unknown, path: string): readonly (readonly [path: string, text: string])[] {
  if (typeof value !== 'object' || value === null) return [[path, String(value)]];
  const members = Object.entries(value);
  if (members.length === 0) return [[path, 'none']];
  return members.flatMap(([name, member]) => flattened(member, path === '' ? name : `${path}.${name}`));
}
