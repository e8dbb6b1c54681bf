/** What a guest asks its firmware to sign: REPORT_DATA, the 64 bytes that the guest chooses. */

import { sha512 } from '@noble/hashes/sha2.js';

import { paddedLabel } from '../core/binding.ts';
import { constantBytes, encode, fixedBytes, structure } from '../core/layout.ts';

/** Version 1 had no companions. No two versions share a value, and a verifier computes the one that it expects. */
const REPORT_DATA_LABEL = paddedLabel('weightgate/report-data/v2');

const reportDataLayout = structure({
  label: constantBytes(REPORT_DATA_LABEL),
  deviceValue: fixedBytes(32),
  companionsDigest: fixedBytes(32),
});

/** What one report is made for. */
export interface ReportPurpose {
  /** From `computeDeviceValue` with the class `sev-snp`, 32 bytes. */
  readonly deviceValue: Uint8Array;
  /** From `computeCompanionsDigest` over the other devices of the machine, 32 bytes; over none for a guest alone. */
  readonly companionsDigest: Uint8Array;
}

/**
 * The 64 bytes of REPORT_DATA: SHA-512 over the label, the device value and the digest of the companions.
 *
 * @throws RefusalError `layout-value` when one of them has another length
 */
export function computeReportData({ deviceValue, companionsDigest }: ReportPurpose): Uint8Array {
  const members = { label: REPORT_DATA_LABEL, deviceValue, companionsDigest };
  return sha512(encode(reportDataLayout, members, 'reportData'));
}
