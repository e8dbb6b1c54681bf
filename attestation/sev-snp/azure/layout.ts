/**
 * The HCL report: what the paravisor of an Azure confidential machine leaves in the NV index 0x01400001 of its virtual
 * TPM (docs/spec/azure-vtpm.md, section 1). Facts only. Nothing in it but the hardware report is signed: the claims
 * count once REPORT_DATA has been found to hold their digest. All integers are little-endian.
 */

import { toUtf8 } from '../../core/bytes.ts';
import {
  constantBytes,
  decode,
  dependent,
  encode,
  fixedBytes,
  littleEndian,
  remainingBytes,
  reserved,
  structure,
} from '../../core/layout.ts';
import type { Layout, ValueOf } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { REPORT_BYTES } from '../layout.ts';

export const hclReportRefusals = defineRefusals('malformed', {
  'azure-hcl-length': {
    means: 'An HCL report is shorter or longer than any that exists.',
    hint: 'Read the whole NV index 0x01400001 of the virtual TPM.',
  },
  'azure-hcl-size': {
    means: 'A size in an HCL report is not that of what it counts.',
    hint: 'The report was cut or put together by hand: read it from the virtual TPM again.',
  },
  'azure-hcl-hardware': {
    means: 'The hardware report inside an HCL report is not one of AMD SEV-SNP.',
    hint: 'Use a machine of an SEV-SNP size; other hardware in this form is not known to this release.',
  },
  'azure-hcl-hash': {
    means: 'An HCL report names another digest of its claims than SHA-256.',
    hint: 'Only SHA-256 is in use; the report was altered, or is of a kind that this release does not know.',
  },
  'azure-hcl-padding': {
    means: 'An HCL report is followed by something other than zeros.',
    hint: 'Read the NV index again; nothing may be appended to the report.',
  },
});

const { u32 } = littleEndian;

/** The NV index holds 2048 or 2600 bytes; the limit leaves room for another size and no more. */
const MAX_REPORT_BYTES = 16 * 1024;

/** igvm_attest request header, the same in all versions. */
const HEADER_BYTES = 32;

/** Request data before the capabilities: five integers. */
const DATA_BYTES = 20;

/** IGVM_ATTEST_REPORT_TYPE: which hardware report is inside. */
export const HardwareReport = { vbs: 1, sevSnp: 2, trustedVm: 3, tdx: 4 } as const;

/** IGVM_ATTEST_HASH_TYPE: how the claims stand in REPORT_DATA. */
export const ClaimsHash = { sha256: 1, sha384: 2, sha512: 3 } as const;

/** AK_CERT_REQUEST: the only request that the paravisor keeps in the NV index. */
const ATTESTATION_KEY_REQUEST = 2;

/** Request data of version 2 says what its sender can do: error codes, retries, unsealing by hardware. */
const KNOWN_CAPABILITIES = 0b111;
const capabilities = u32({ knownBits: KNOWN_CAPABILITIES }) as Layout<number | undefined>;
const noCapabilities = reserved(0) as Layout<number | undefined>;

const hclReport = structure({
  magic: constantBytes(toUtf8('HCLA')),
  version: u32({ oneOf: [1, 2] }),
  reportSize: u32({ max: MAX_REPORT_BYTES }),
  requestType: u32({ oneOf: [ATTESTATION_KEY_REQUEST] }),
  status: u32({ oneOf: [0] }),
  reserved: reserved(12),
  hardwareReport: fixedBytes(REPORT_BYTES),
  dataSize: u32({ max: MAX_REPORT_BYTES }),
  dataVersion: u32({ oneOf: [1, 2] }),
  reportType: u32(),
  claimsHash: u32(),
  claimsSize: u32({ max: MAX_REPORT_BYTES }),
  capabilities: dependent(({ dataVersion }) => (dataVersion === 1 ? noCapabilities : capabilities)),
  claims: dependent(({ claimsSize }) => fixedBytes(Number(claimsSize))),
  padding: remainingBytes(),
});

/** What an HCL report claims. `hardwareReport` is an ATTESTATION_REPORT, `claims` the bytes of a JSON document. */
export type HclReport = ValueOf<typeof hclReport>;

/** @throws RefusalError `azure-hcl-*`, `layout-*` */
export function readHclReport(bytes: Uint8Array): HclReport {
  if (bytes.length > MAX_REPORT_BYTES) {
    throw hclReportRefusals.error('azure-hcl-length', {
      field: 'hclReport',
      expected: `at most ${MAX_REPORT_BYTES} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const report = decode(hclReport, bytes, 'hclReport');
  checkKinds(report);
  checkSizes(report);
  return report;
}

/** Writes what {@link readHclReport} reads. @throws RefusalError `azure-hcl-*`, `layout-value` */
export function writeHclReport(report: HclReport): Uint8Array {
  checkKinds(report);
  checkSizes(report);
  return encode(hclReport, report, 'hclReport');
}

function checkKinds({ reportType, claimsHash }: HclReport): void {
  if (reportType !== HardwareReport.sevSnp) {
    throw hclReportRefusals.error('azure-hcl-hardware', {
      field: 'hclReport.reportType',
      expected: `${HardwareReport.sevSnp} (SEV-SNP)`,
      found: String(reportType),
    });
  }
  if (claimsHash !== ClaimsHash.sha256) {
    throw hclReportRefusals.error('azure-hcl-hash', {
      field: 'hclReport.claimsHash',
      expected: `${ClaimsHash.sha256} (SHA-256)`,
      found: String(claimsHash),
    });
  }
}

function checkSizes({ reportSize, dataSize, dataVersion, claims, claimsSize, padding }: HclReport): void {
  const dataBytes = DATA_BYTES + (dataVersion === 1 ? 0 : 4) + claims.length;
  checkSize('claimsSize', claims.length, claimsSize);
  checkSize('dataSize', dataBytes, dataSize);
  checkSize('reportSize', HEADER_BYTES + REPORT_BYTES + dataBytes, reportSize);
  if (padding.every((byte) => byte === 0)) return;
  throw hclReportRefusals.error('azure-hcl-padding', {
    field: 'hclReport.padding',
    expected: `${padding.length} zero bytes`,
    found: 'others',
  });
}

function checkSize(member: string, expected: number, found: number): void {
  if (found === expected) return;
  throw hclReportRefusals.error('azure-hcl-size', {
    field: `hclReport.${member}`,
    expected: String(expected),
    found: String(found),
  });
}
