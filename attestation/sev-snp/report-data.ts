/** What a guest asks its firmware to sign: REPORT_DATA, the 64 bytes that the guest chooses. */

import { sha512 } from '@noble/hashes/sha2.js';

import { paddedLabel } from '../core/binding.ts';
import { encode, fixedBytes, structure } from '../core/layout.ts';

/**
 * A protocol that puts more into REPORT_DATA takes another label, so that no two protocols share a value; a verifier
 * computes the one value that it expects and never tries several.
 */
const REPORT_DATA_LABEL = paddedLabel('weightgate/report-data/v1');

const reportDataLayout = structure({ label: fixedBytes(32), deviceValue: fixedBytes(32) });

/**
 * The 64 bytes of REPORT_DATA: SHA-512 over the label and the device value.
 *
 * @param deviceValue from `computeDeviceValue` with the class `sev-snp`, 32 bytes
 * @throws RefusalError `layout-value` when it has another length
 */
export function computeReportData(deviceValue: Uint8Array): Uint8Array {
  return sha512(encode(reportDataLayout, { label: REPORT_DATA_LABEL, deviceValue }, 'reportData'));
}
