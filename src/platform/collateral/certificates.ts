/** Certificates as files and key servers give them: one in DER, or several as PEM blocks one after another. */

import { concatBytes, fromUtf8, toUtf8 } from '../../../attestation/core/bytes.ts';
import { looksLikePem, readPem, writePem } from '../../../attestation/core/pem.ts';
import { defineRefusals } from '../../../attestation/core/refusal.ts';

export const certificateFileRefusals = defineRefusals('malformed', {
  'certificates-too-many': {
    means: 'A file has more certificates than any chain.',
    hint: 'Give the certificates of one machine alone.',
  },
});

const MAX_CERTIFICATES = 8;
const LABEL = 'CERTIFICATE';

/** The certificates in DER, in their order. @throws RefusalError `certificates-too-many`, `pem-malformed`, `utf8-malformed` */
export function splitCertificates(bytes: Uint8Array, field: string): readonly Uint8Array[] {
  if (!looksLikePem(bytes)) return [bytes];
  const blocks = fromUtf8(bytes, field)
    .trimEnd()
    .split(/\s+(?=-----BEGIN )/);
  if (blocks.length > MAX_CERTIFICATES) {
    const expected = `at most ${MAX_CERTIFICATES} certificates`;
    const facts = { field, expected, found: `${blocks.length} blocks` };
    throw certificateFileRefusals.error('certificates-too-many', facts);
  }
  return blocks.map((block, i) => readPem(toUtf8(block), LABEL, `${field}[${i}]`));
}

/** Writes what {@link splitCertificates} reads. */
export function joinCertificates(certificates: readonly Uint8Array[]): Uint8Array {
  return concatBytes(...certificates.map((certificate) => writePem(certificate, LABEL)));
}
