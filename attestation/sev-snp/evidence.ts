/** The `sev-snp` member of an evidence bundle: `{report, certificateTable}` (docs/spec/sev-snp.md, section 4). */

import { isZero, toBase64 } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { base64Shape, objectShape } from '../core/json-shape.ts';
import { defineRefusals } from '../core/refusal.ts';
import {
  certificateDer,
  CertificateGuid,
  MAX_TABLE_BYTES,
  readCertificateTable,
} from './certificate-table.ts';
import { chipIdentity, chipIdOf, guestIdentity } from './identity.ts';
import { readKeyCertificate } from './key-certificate.ts';
import { readReport, REPORT_BYTES, SigningKey } from './layout.ts';
import type { AttestationReport } from './layout.ts';

export const evidenceRefusals = defineRefusals('malformed', {
  'snp-evidence-unnamed': {
    means: 'Nothing in the evidence names the machine.',
    hint: 'Send the certificate of the key that signed: the report hides its chip, or is signed for a provider’s fleet.',
  },
});

/** Certificates in DER, as the evidence or the caller gives them. All are candidates until their path is verified. */
export interface SevSnpCertificates {
  readonly vcek: Uint8Array | undefined;
  readonly vlek: Uint8Array | undefined;
  /** ASK of a VCEK, ASVK of a VLEK. */
  readonly intermediate: Uint8Array | undefined;
  readonly ark: Uint8Array | undefined;
}

/** What the evidence claims. */
export interface SevSnpEvidence {
  /** The report as it was received: the signature is over its first 672 bytes. */
  readonly reportBytes: Uint8Array;
  readonly report: AttestationReport;
  readonly certificates: SevSnpCertificates;
}

const evidenceShape = objectShape({
  report: base64Shape({ maxBytes: REPORT_BYTES }),
  certificateTable: base64Shape({ maxBytes: MAX_TABLE_BYTES }),
});

/** @throws RefusalError `shape-*`, `base64-malformed`, `snp-report-*`, `snp-table-*`, `snp-certificate-size`, `layout-*`, `pem-malformed` */
export function readSevSnpEvidence(value: JsonValue, path: string): SevSnpEvidence {
  const { report, certificateTable } = evidenceShape(value, path);
  return {
    reportBytes: report,
    report: readReport(report, `${path}.report`),
    certificates: certificatesOfTable(certificateTable, `${path}.certificateTable`),
  };
}

/** Writes the member that {@link readSevSnpEvidence} reads, from what the guest received. */
export function writeSevSnpEvidence(report: Uint8Array, certificateTable: Uint8Array): JsonValue {
  return { report: toBase64(report), certificateTable: toBase64(certificateTable) };
}

/**
 * The certificates in a table. Entries of other GUIDs are the host's own affair and are left alone.
 *
 * @throws RefusalError `snp-table-*`, `snp-certificate-size`, `pem-malformed`
 */
export function certificatesOfTable(table: Uint8Array, path: string): SevSnpCertificates {
  const entries = readCertificateTable(table, path);
  const certificate = (name: keyof typeof CertificateGuid): Uint8Array | undefined => {
    const entry = entries.find(({ guid }) => guid === CertificateGuid[name]);
    return entry && certificateDer(entry.content, `${path}.${name}`);
  };
  return {
    vcek: certificate('vcek'),
    vlek: certificate('vlek'),
    intermediate: certificate('intermediate'),
    ark: certificate('ark'),
  };
}

/**
 * The 32 bytes that name the machine, as the evidence claims it: from CHIP_ID, or from the certificate where the report
 * has no chip. Verification checks that the two belong together.
 *
 * @throws RefusalError `snp-evidence-unnamed`, and what reading the certificate throws
 */
export function claimedIdentity({ report, certificates }: SevSnpEvidence): Uint8Array {
  const { chipId, reportId, keyInfo } = report;
  const isFleetKey = keyInfo.signingKey === SigningKey.vlek;
  if (!isFleetKey && !isZero(chipId)) return chipIdentity(chipId);
  const certificate = isFleetKey ? certificates.vlek : certificates.vcek;
  const facts = certificate && readKeyCertificate(certificate, 'certificate');
  if (facts?.kind === 'vlek') return guestIdentity(facts.cspId, reportId);
  if (facts?.kind === 'vcek') return chipIdentity(chipIdOf(facts.hardwareId));
  throw evidenceRefusals.error('snp-evidence-unnamed', {
    field: 'report.chipId',
    expected: 'a chip, or the certificate of the key that signed',
    found: 'neither',
  });
}
