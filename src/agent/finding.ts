/** What an examination of this machine found, in words for the person who reads it. */

import { isRefusal } from '../../attestation/core/refusal.ts';

/** `remark` is what an agent can do without. */
type Readiness = 'ready' | 'remark' | 'missing';

export interface Finding {
  readonly what: string;
  readonly readiness: Readiness;
  readonly found: string;
  /** What to do; only where it is not ready. */
  readonly fix?: string;
}

/** A finding whose subject the caller names. */
export type Found = Omit<Finding, 'what'>;

export const ready = (found: string): Found => ({ readiness: 'ready', found });
export const remark = (found: string, fix: string): Found => ({ readiness: 'remark', found, fix });
export const missing = (found: string, fix: string): Found => ({ readiness: 'missing', found, fix });

/** What an agent would refuse with is the finding, and its hint is the fix. */
export async function examined(examine: () => Found | Promise<Found>): Promise<Found> {
  try {
    return await examine();
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const { code, field, expected, found, hint } = error.refusal;
    return missing(`${field}: expected ${expected}, found ${found} [${code}]`, hint);
  }
}
