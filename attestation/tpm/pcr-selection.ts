/** Which PCRs of which bank: as people write it, and as TPML_PCR_SELECTION. */

import type { TpmHash } from './hash.ts';
import type { PcrSelectionList } from './layout.ts';

/** PCRs of a PC client platform. */
export const PCR_COUNT = 24;

export interface PcrSelection {
  readonly bank: TpmHash;
  /** Ascending, each once, below {@link PCR_COUNT}. */
  readonly pcrs: readonly number[];
}

/** The selection list of one bank, for TPM2_Quote and for comparison with what was quoted. */
export function selectPcrs({ bank, pcrs }: PcrSelection): PcrSelectionList {
  const select = new Uint8Array(PCR_COUNT / 8);
  for (const pcr of pcrs) select[pcr >> 3] = (select[pcr >> 3] ?? 0) | (1 << (pcr & 7));
  return [{ hash: bank.algorithm, select }];
}
