/**
 * CertID (RFC 6960 section 4.1.1): which certificate a question or an answer is about. NVIDIA's responder takes SHA-384,
 * and no other hash is taken here.
 */

import { sha384 } from '@noble/hashes/sha2.js';

import { concatBytes, equalBytes, toHex } from '../../core/bytes.ts';
import { byteStringOf, contentOf, objectIdentifierOf, readElement, Tag } from '../../core/der.ts';
import type { DerElement } from '../../core/der.ts';
import type { Certificate } from '../../core/x509.ts';
import { encodeDer } from './der-encoding.ts';
import { ocspFormatRefusals } from './format.ts';

export interface CertificateId {
  /** SHA-384 of the issuer's encoded Name. */
  readonly issuerNameHash: Uint8Array;
  /** SHA-384 of the issuer's public key: the content of its BIT STRING, without the algorithm. */
  readonly issuerKeyHash: Uint8Array;
  /** Content of the INTEGER. */
  readonly serialNumber: Uint8Array;
}

const SHA384_IDENTIFIER = '2.16.840.1.101.3.4.2.2';
/** AlgorithmIdentifier of SHA-384, with NULL as NVIDIA's responder writes it. */
const SHA384_ALGORITHM = Uint8Array.of(0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0);
const HASH_BYTES = 48;

/** The bits of a certificate's public key, as CertID and ResponderID hash them. @throws RefusalError `der-*` */
export function publicKeyBits({ subjectPublicKeyInfo }: Certificate, path: string): Uint8Array {
  const reader = contentOf(readElement(subjectPublicKeyInfo, Tag.sequence, path));
  reader.next(Tag.sequence, 'algorithm');
  const bits = byteStringOf(reader.next(Tag.bitString, 'subjectPublicKey'));
  reader.end();
  return bits;
}

/** The name is taken from the certificate and the key from its issuer: both must fit. @throws RefusalError `der-*` */
export function certificateIdOf(certificate: Certificate, issuer: Certificate): CertificateId {
  return {
    issuerNameHash: sha384(certificate.issuer),
    issuerKeyHash: sha384(publicKeyBits(issuer, 'issuer.publicKey')),
    serialNumber: certificate.serialNumber,
  };
}

/** @throws RefusalError `ocsp-malformed`, `der-*` */
export function readCertificateId(element: DerElement): CertificateId {
  const reader = contentOf(element);
  readHashAlgorithm(reader.next(Tag.sequence, 'hashAlgorithm'));
  const issuerNameHash = reader.next(Tag.octetString, 'issuerNameHash').content;
  const issuerKeyHash = reader.next(Tag.octetString, 'issuerKeyHash').content;
  const serialNumber = reader.next(Tag.integer, 'serialNumber').content;
  reader.end();
  if (issuerNameHash.length !== HASH_BYTES || issuerKeyHash.length !== HASH_BYTES) {
    throw ocspFormatRefusals.error('ocsp-malformed', {
      field: element.path,
      expected: `hashes of ${HASH_BYTES} bytes`,
      found: `${issuerNameHash.length} and ${issuerKeyHash.length} bytes`,
    });
  }
  return { issuerNameHash, issuerKeyHash, serialNumber };
}

function readHashAlgorithm(element: DerElement): void {
  const reader = contentOf(element);
  const identifier = objectIdentifierOf(reader.next(Tag.objectIdentifier, 'algorithm'));
  reader.optional(Tag.null, 'parameters');
  reader.end();
  if (identifier === SHA384_IDENTIFIER) return;
  throw ocspFormatRefusals.error('ocsp-malformed', {
    field: element.path,
    expected: 'SHA-384',
    found: identifier,
  });
}

/** Writes what {@link readCertificateId} reads. */
export function writeCertificateId(id: CertificateId): Uint8Array {
  return encodeDer(
    Tag.sequence,
    SHA384_ALGORITHM,
    encodeDer(Tag.octetString, id.issuerNameHash),
    encodeDer(Tag.octetString, id.issuerKeyHash),
    encodeDer(Tag.integer, id.serialNumber),
  );
}

/** A short text that names the certificate, for refusals. */
export function showCertificateId({ issuerKeyHash, serialNumber }: CertificateId): string {
  return `serial number ${toHex(serialNumber.subarray(0, 32))} of issuer ${toHex(issuerKeyHash.subarray(0, 8))}`;
}

export function equalCertificateIds(left: CertificateId, right: CertificateId): boolean {
  const bytes = ({ issuerNameHash, issuerKeyHash, serialNumber }: CertificateId): Uint8Array =>
    concatBytes(issuerNameHash, issuerKeyHash, serialNumber);
  return equalBytes(bytes(left), bytes(right));
}
