/** What came of deriving a logged decision again (docs/spec/replay.md, section 3): between who can and who asks. */

import type { Refusal } from '../../attestation/core/refusal.ts';
import type { DerivedDecisionEntry } from '../governance/entries.ts';
import type { GovernanceState } from '../governance/state.ts';

export type Rederived =
  | {
      readonly found: 'entry';
      readonly entry: DerivedDecisionEntry;
      /** Names the authorities that the server was configured with. */
      readonly authoritiesDigest: string;
    }
  /** The inputs lead to no entry: a server that follows the rules would have logged none. */
  | { readonly found: 'refusal'; readonly refusal: Refusal }
  /** Times in POSIX seconds. */
  | {
      readonly found: 'deleted';
      readonly decidedAt: number;
      readonly deletedAt: number;
      readonly keepDays: number;
    }
  /** A content is not in the store, or is not that of its digest. */
  | { readonly found: 'missing'; readonly digest: string };

export interface DecisionDeriver {
  /**
   * Derives a decision again.
   *
   * @param state before its entry, or any other to see what would have been decided
   * @param inputsDigest as the entry names it
   */
  derive(state: GovernanceState, inputsDigest: string): Promise<Rederived>;
}
