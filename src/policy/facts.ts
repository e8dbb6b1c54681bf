/** What a decision is made from, beside the state of governance. */

import type { Refusal } from '../../attestation/core/refusal.ts';
import type { DeviceClaims } from '../governance/entries.ts';

/** What the lab asked for, from the signed request. */
export interface ReleaseFacts {
  readonly lab: string;
  readonly purpose: string;
  readonly manifestDigest: string;
  readonly inferencePolicyDigest: string;
  /** Identifier of the lease to renew, or null. */
  readonly renews: string | null;
}

/** What the verifier made of the evidence. */
export type EvidenceSummary =
  | { readonly outcome: 'accepted'; readonly devices: readonly DeviceClaims[] }
  | { readonly outcome: 'refused'; readonly refusals: readonly Refusal[] };
