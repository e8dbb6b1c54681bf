/** Questions to a responder (RFC 6960 section 4.1): about one certificate, with a nonce, without a name or a signature. */

import { contextTag, Tag } from '../../core/der.ts';
import type { Certificate } from '../../core/x509.ts';
import { certificateIdOf, writeCertificateId } from './certificate-id.ts';
import { encodeDer } from './der-encoding.ts';
import { NONCE_BYTES, ocspFormatRefusals } from './format.ts';

/** Content of the identifier of id-pkix-ocsp-nonce. */
const NONCE_IDENTIFIER = Uint8Array.of(0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2);

/**
 * DER of an OCSPRequest.
 *
 * @param nonce 1 to 128 random bytes, 32 are usual; the answer has to carry them
 * @throws RefusalError `ocsp-size`, `der-*`
 */
export function writeOcspRequest(
  certificate: Certificate,
  issuer: Certificate,
  nonce: Uint8Array,
): Uint8Array<ArrayBuffer> {
  if (nonce.length < NONCE_BYTES.min || nonce.length > NONCE_BYTES.max) {
    const expected = `${NONCE_BYTES.min} to ${NONCE_BYTES.max} bytes`;
    throw ocspFormatRefusals.error('ocsp-size', {
      field: 'ocsp.nonce',
      expected,
      found: `${nonce.length} bytes`,
    });
  }
  const certificateId = writeCertificateId(certificateIdOf(certificate, issuer));
  const requestList = encodeDer(Tag.sequence, encodeDer(Tag.sequence, certificateId));
  const extension = encodeDer(
    Tag.sequence,
    encodeDer(Tag.objectIdentifier, NONCE_IDENTIFIER),
    encodeDer(Tag.octetString, encodeDer(Tag.octetString, nonce)),
  );
  const extensions = encodeDer(contextTag(2, 'constructed'), encodeDer(Tag.sequence, extension));
  return encodeDer(Tag.sequence, encodeDer(Tag.sequence, requestList, extensions));
}
