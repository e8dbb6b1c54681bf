/** Running checks under a time limit, and making one verdict of what they say. */

import type { Clock } from '../platform/clock.ts';
import type { BlockCause, Finding, Verdict } from './verdict.ts';

/** For all checks of one step together. */
export interface JudgingLimits {
  readonly clock: Clock;
  readonly milliseconds: number;
}

class JudgingTimeout extends Error {
  override readonly name = 'JudgingTimeout';
}

/** Asks every check; any that fails or is late blocks, whatever the others say. Never throws. */
export async function judgeAll<Check>(
  checks: readonly Check[],
  limits: JudgingLimits,
  ask: (check: Check) => readonly Finding[] | Promise<readonly Finding[]>,
): Promise<Verdict> {
  const begun = limits.clock.monotonicMilliseconds();
  const findings: Finding[] = [];
  try {
    for (const check of checks) {
      const spent = limits.clock.monotonicMilliseconds() - begun;
      findings.push(...(await withinLimit(ask(check), limits.milliseconds - spent)));
    }
  } catch (error) {
    return blocked(error instanceof JudgingTimeout ? 'guard-timeout' : 'guard-failed', findings);
  }
  // A check that never yields cannot be interrupted, only found out afterwards.
  const late = limits.clock.monotonicMilliseconds() - begun > limits.milliseconds;
  return late ? blocked('guard-timeout', findings) : verdictOf(findings);
}

function blocked(cause: BlockCause, findings: readonly Finding[]): Verdict {
  return { outcome: 'block', cause, findings };
}

/** Tiers 0 and 1 block, tier 2 counts. */
function verdictOf(findings: readonly Finding[]): Verdict {
  const blocks = findings.some((finding) => finding.tier < 2);
  return blocks ? blocked('policy', findings) : { outcome: 'allow', findings };
}

/** An answer that is there already costs neither a timer nor a turn of the event loop. */
function withinLimit(
  answer: readonly Finding[] | Promise<readonly Finding[]>,
  milliseconds: number,
): readonly Finding[] | Promise<readonly Finding[]> {
  if (!(answer instanceof Promise)) return answer;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => {
        reject(new JudgingTimeout());
      },
      Math.max(milliseconds, 0),
    );
  });
  return Promise.race([answer, late]).finally(() => {
    clearTimeout(timer);
  });
}
