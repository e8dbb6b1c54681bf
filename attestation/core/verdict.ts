/**
 * Verdicts: what a verification looked at, what it expected and found, and what it concludes. Trusted claims exist
 * only in a verdict all of whose checks passed.
 */

import { defineRefusals, RefusalError } from './refusal.ts';
import type { Refusal, RefusalCodeText, RefusalFacts, RefusalFamily, RefusalFamilyName } from './refusal.ts';
import { markTrusted } from './trusted.ts';
import type { Trusted } from './trusted.ts';

/** One check that was made. Its id is the code of the refusal that it gives when it fails. */
export interface Check {
  readonly id: string;
  readonly outcome: 'passed' | 'failed';
  readonly field: string;
  readonly expected: string;
  readonly found: string;
  /** What an attacker could do if the check were left out. */
  readonly protects: string;
}

export interface Accepted<Claims extends object> {
  readonly outcome: 'accepted';
  readonly claims: Trusted<Claims>;
  readonly checks: readonly Check[];
}

export interface Refused {
  readonly outcome: 'refused';
  /** Family of the first refusal. */
  readonly family: RefusalFamilyName;
  readonly refusals: readonly [Refusal, ...Refusal[]];
  /** The checks up to the one that ended the verification. */
  readonly checks: readonly Check[];
}

export type Verdict<Claims extends object> = Accepted<Claims> | Refused;

export interface CheckText extends RefusalCodeText {
  readonly protects: string;
}

/** A refusal family whose codes are the ids of checks. */
export interface CheckFamily<Code extends string> extends RefusalFamily<Code> {
  readonly codes: Readonly<Record<Code, CheckText>>;
}

/** Declares checks and, with them, the refusals that they give. */
export function defineChecks<Code extends string>(
  family: RefusalFamilyName,
  codes: Readonly<Record<Code, CheckText>>,
): CheckFamily<Code> {
  return { ...defineRefusals(family, codes), codes };
}

interface FailedCheck {
  readonly family: RefusalFamilyName;
  readonly refusal: Refusal;
}

/** The checks of one verification, in the order in which they were made. */
export class Checklist {
  private readonly made: Check[] = [];
  private readonly failures: FailedCheck[] = [];

  get checks(): readonly Check[] {
    return this.made;
  }

  get failed(): readonly FailedCheck[] {
    return this.failures;
  }

  /** Records a check and goes on: for appraisal, where a person wants to see all that is wrong. */
  note<Code extends string>(
    family: CheckFamily<Code>,
    code: Code,
    holds: boolean,
    facts: RefusalFacts,
  ): void {
    const { protects } = family.codes[code];
    const { field, expected, found } = facts;
    this.made.push({ id: code, outcome: holds ? 'passed' : 'failed', field, expected, found, protects });
    if (!holds) this.failures.push({ family: family.family, refusal: family.refusal(code, facts) });
  }

  /**
   * Records a check and stops if it fails: for authenticity, where nothing after it means anything.
   *
   * @throws RefusalError with this code
   */
  demand<Code extends string>(
    family: CheckFamily<Code>,
    code: Code,
    holds: boolean,
    facts: RefusalFacts,
  ): asserts holds {
    this.note(family, code, holds, facts);
    if (!holds) throw this.stop();
  }

  /**
   * Records as a check what another part verifies and refuses with codes of its own.
   *
   * @throws what `verify` throws
   */
  async attempt<Code extends string, T>(
    family: CheckFamily<Code>,
    code: Code,
    facts: Omit<RefusalFacts, 'found'>,
    verify: () => T | Promise<T>,
  ): Promise<T> {
    const { protects } = family.codes[code];
    try {
      const value = await verify();
      this.made.push({ id: code, outcome: 'passed', ...facts, found: 'as expected', protects });
      return value;
    } catch (error) {
      const found = error instanceof RefusalError ? error.message : 'an error';
      this.made.push({ id: code, outcome: 'failed', ...facts, found, protects });
      throw error;
    }
  }

  private stop(): RefusalError {
    const last = this.failures.pop();
    if (last === undefined) throw new TypeError('no failed check to stop at');
    return new RefusalError(last.family, last.refusal);
  }
}

/**
 * Runs a verification and turns how it ends into a verdict. This is the only place where claims become trusted.
 * A refusal that is thrown ends it; any other exception is a defect and passes through.
 */
export async function judge<Claims extends object>(
  verify: (checks: Checklist) => Claims | Promise<Claims>,
): Promise<Verdict<Claims>> {
  const checklist = new Checklist();
  try {
    const claims = await verify(checklist);
    return conclude(claims, checklist);
  } catch (error) {
    if (!(error instanceof RefusalError)) throw error;
    const failures = [...checklist.failed, { family: error.family, refusal: error.refusal }];
    return refuse(failures, checklist);
  }
}

function conclude<Claims extends object>(claims: Claims, checklist: Checklist): Verdict<Claims> {
  const { checks, failed } = checklist;
  if (failed.length > 0) return refuse(failed, checklist);
  if (checks.length === 0) throw new TypeError('a verification without a check proves nothing');
  return { outcome: 'accepted', claims: markTrusted(claims), checks };
}

function refuse(failures: readonly FailedCheck[], { checks }: Checklist): Refused {
  const [first, ...rest] = failures;
  if (first === undefined) throw new TypeError('a refusal needs a reason');
  return {
    outcome: 'refused',
    family: first.family,
    refusals: [first.refusal, ...rest.map(({ refusal }) => refusal)],
    checks,
  };
}
