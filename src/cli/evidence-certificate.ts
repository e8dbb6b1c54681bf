/** What a certificate says of itself, for a person to read. */

import { sha256 } from '@noble/hashes/sha2.js';

import { toHex } from '../../attestation/core/bytes.ts';
import { NameAttribute, nameAttributes } from '../../attestation/core/distinguished-name.ts';
import { readCertificate } from '../../attestation/core/x509.ts';

/** @param path what the certificate is, for messages @throws RefusalError `certificate-*`, `der-*` */
export function certificateSummary(der: Uint8Array, path: string) {
  const certificate = readCertificate(der, path);
  const { subject, issuer, serialNumber, notBefore, notAfter, subjectPublicKeyInfo } = certificate;
  return {
    subject: commonName(subject),
    issuer: commonName(issuer),
    serialNumber,
    notBefore: timeText(notBefore),
    notAfter: timeText(notAfter),
    publicKeyDigest: toHex(sha256(subjectPublicKeyInfo)),
  };
}

function commonName(name: Uint8Array): string {
  return nameAttributes(name, 'name').get(NameAttribute.commonName) ?? 'none';
}

function timeText(posixSeconds: number): string {
  return new Date(posixSeconds * 1000).toISOString();
}
