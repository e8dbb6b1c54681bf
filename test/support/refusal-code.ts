import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Refusal, RefusalFacts } from '../../attestation/core/refusal.ts';

/** What the tests compare: the code of the refusal, or `accepted`. Any other error is the test's own failure. */
export function refusalCode(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return codeOf(error);
  }
  return 'accepted';
}

export async function refusalCodeAsync(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
  } catch (error) {
    return codeOf(error);
  }
  return 'accepted';
}

/** The whole refusal, for tests of what it says. */
export function refusalOf(action: () => unknown): Refusal {
  try {
    action();
  } catch (error) {
    return refusalIn(error);
  }
  throw new Error('nothing was refused');
}

export async function refusalOfAsync(action: () => Promise<unknown>): Promise<Refusal> {
  try {
    await action();
  } catch (error) {
    return refusalIn(error);
  }
  throw new Error('nothing was refused');
}

function refusalIn(error: unknown): Refusal {
  if (!isRefusal(error)) throw error;
  demandFacts(error.refusal);
  return error.refusal;
}

function codeOf(error: unknown): string {
  return refusalIn(error).code;
}

/** What the tests compare of a verdict: the codes of its refusals, or its outcome where there are none. */
export function verdictCodes(verdict: {
  readonly outcome: string;
  readonly refusals?: readonly Refusal[];
  readonly checks: readonly RefusalFacts[];
}): readonly string[] {
  verdict.checks.forEach(demandFacts);
  if (verdict.refusals === undefined) return [verdict.outcome];
  verdict.refusals.forEach(demandFacts);
  return verdict.refusals.map(({ code }) => code);
}

/** A refusal or check that does not say what it is about is of no use to the person who reads it, whatever its code. */
function demandFacts({ field, expected, found }: RefusalFacts): void {
  const facts: readonly unknown[] = [field, expected, found];
  if (facts.every((fact) => typeof fact === 'string')) return;
  throw new Error(`facts are missing: ${JSON.stringify({ field, expected, found })}`);
}
