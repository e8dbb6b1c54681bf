/**
 * Certificate revocation lists (RFC 5280 section 5): reading, and whether one says something now. Only complete lists
 * of one issuer; delta and indirect lists name themselves by critical extensions and are refused by them.
 */

import { equalBytes, toHex } from './bytes.ts';
import { booleanOf, byteStringOf, contentOf, contextTag, readElement, smallIntegerOf } from './der.ts';
import { objectIdentifierOf, Tag, timeOf, unsignedIntegerOf } from './der.ts';
import type { DerElement, DerReader } from './der.ts';
import { readSubjectPublicKeyInfo } from './public-key.ts';
import type { CertificateMemory } from './certificate-memory.ts';
import { defineRefusals } from './refusal.ts';
import { readEcdsaSignature, verifySignature } from './signature.ts';
import type { SignatureScheme } from './signature.ts';
import { readSignatureScheme } from './x509.ts';
import type { Certificate } from './x509.ts';

export const listRefusals = defineRefusals('malformed', {
  'crl-malformed': {
    means: 'A revocation list is not of the form that every reader understands alike.',
    hint: 'Fetch the complete list of the issuer again, in DER.',
  },
  'crl-size': {
    means: 'A revocation list is larger than its reader allows.',
    hint: 'Hardware vendors revoke few authorities; check what was fetched.',
  },
});

export const revocationRefusals = defineRefusals('inauthentic', {
  'crl-issuer': {
    means: 'A revocation list is that of another issuer.',
    hint: 'Fetch the list that belongs to the root of the chain.',
  },
  'crl-signature': {
    means: 'A revocation list is not signed by its issuer.',
    hint: 'The list was altered; fetch it again.',
  },
  'crl-not-yet-valid': {
    means: 'A revocation list is from the future.',
    hint: 'Check the clock of the verifier.',
  },
  'crl-stale': {
    means: 'A revocation list is past its next update.',
    hint: 'Fetch the current list: a revocation since then would not show in this one.',
  },
});

/** A list as its bytes claim it. */
export interface CertificateList {
  readonly tbsCertList: Uint8Array;
  readonly issuer: Uint8Array;
  /** POSIX seconds. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** cRLNumber: rises with each list. */
  readonly number: number;
  /** Serial numbers in hex, as their INTEGER holds them. */
  readonly revoked: ReadonlySet<string>;
  readonly signatureScheme: SignatureScheme;
  readonly signature: Uint8Array;
}

const CRL_NUMBER = '2.5.29.20';
const AUTHORITY_KEY_IDENTIFIER = '2.5.29.35';
/** AMD’s lists have less than 1 KiB; the bound keeps the work on a hostile one to milliseconds. */
const MAX_LIST_BYTES = 32 * 1024;

/** Reads one list that makes up the whole input. @throws RefusalError `crl-malformed`, `crl-size`, `der-*`, `certificate-algorithm` */
export function readCertificateList(bytes: Uint8Array, path: string): CertificateList {
  if (bytes.length > MAX_LIST_BYTES) {
    const expected = `at most ${MAX_LIST_BYTES} bytes`;
    throw listRefusals.error('crl-size', { field: path, expected, found: `${bytes.length} bytes` });
  }
  const reader = contentOf(readElement(bytes, Tag.sequence, path));
  const tbs = reader.next(Tag.sequence, 'tbsCertList');
  const algorithm = reader.next(Tag.sequence, 'signatureAlgorithm');
  const signature = byteStringOf(reader.next(Tag.bitString, 'signature'));
  reader.end();
  return {
    tbsCertList: tbs.encoded,
    ...readTbs(tbs, algorithm),
    signatureScheme: readSignatureScheme(algorithm),
    signature,
  };
}

function malformed(field: string, expected: string, found: string): Error {
  return listRefusals.error('crl-malformed', { field, expected, found });
}

type TbsMembers = Omit<CertificateList, 'tbsCertList' | 'signatureScheme' | 'signature'>;

function readTbs(element: DerElement, outerAlgorithm: DerElement): TbsMembers {
  const tbs = contentOf(element);
  const version = smallIntegerOf(tbs.next(Tag.integer, 'version'));
  if (version !== 1) throw malformed(element.path, 'version 2', `version ${version + 1}`);
  const innerAlgorithm = tbs.next(Tag.sequence, 'signature');
  if (!equalBytes(innerAlgorithm.encoded, outerAlgorithm.encoded)) {
    throw malformed(innerAlgorithm.path, 'the algorithm named outside', 'another');
  }
  const issuer = tbs.next(Tag.sequence, 'issuer').encoded;
  const thisUpdate = timeOf(tbs.any('thisUpdate'));
  const nextUpdate = timeOf(tbs.any('nextUpdate'));
  const entries = tbs.optional(Tag.sequence, 'revokedCertificates');
  const revoked = entries === undefined ? new Set<string>() : readEntries(entries);
  const extensions = tbs.next(contextTag(0, 'constructed'), 'crlExtensions');
  tbs.end();
  return { issuer, thisUpdate, nextUpdate, revoked, number: readNumber(extensions) };
}

/** RFC 5280 section 5.1.2.6: the list of entries is left out when it would be empty. */
function readEntries(element: DerElement): ReadonlySet<string> {
  const reader = contentOf(element);
  if (element.content.length === 0)
    throw malformed(element.path, 'no list rather than an empty one', 'an empty one');
  const revoked = new Set<string>();
  while (!reader.isAtEnd) {
    const entry = contentOf(reader.next(Tag.sequence, 'entry'));
    const serial = entry.next(Tag.integer, 'userCertificate').content;
    timeOf(entry.any('revocationDate'));
    const extensions = entry.optional(Tag.sequence, 'crlEntryExtensions');
    if (extensions !== undefined) readExtensions(contentOf(extensions), extensions.path, []);
    entry.end();
    revoked.add(toHex(serial));
  }
  return revoked;
}

function readNumber(wrapper: DerElement): number {
  const outer = contentOf(wrapper);
  const list = outer.next(Tag.sequence, 'list');
  outer.end();
  const extensions = readExtensions(contentOf(list), list.path, [CRL_NUMBER, AUTHORITY_KEY_IDENTIFIER]);
  const number = extensions.get(CRL_NUMBER);
  if (number === undefined) throw malformed(list.path, 'a cRLNumber', 'none');
  const magnitude = unsignedIntegerOf(readElement(number, Tag.integer, `${list.path}.cRLNumber`));
  if (magnitude.length > 6) throw malformed(list.path, 'a cRLNumber below 2^48', toHex(magnitude));
  return magnitude.reduce((value, byte) => value * 256 + byte, 0);
}

/** Extensions by identifier. A critical one that is not understood changes what the list means. */
function readExtensions(
  reader: DerReader,
  path: string,
  understood: readonly string[],
): ReadonlyMap<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  while (!reader.isAtEnd) {
    const extension = contentOf(reader.next(Tag.sequence, 'extension'));
    const identifier = objectIdentifierOf(extension.next(Tag.objectIdentifier, 'identifier'));
    const critical = extension.optional(Tag.boolean, 'critical');
    const value = extension.next(Tag.octetString, 'value').content;
    extension.end();
    const isCritical = critical !== undefined && booleanOf(critical);
    if (values.has(identifier) || (isCritical && !understood.includes(identifier))) {
      throw malformed(path, 'extensions once each, critical ones only if understood', identifier);
    }
    values.set(identifier, value);
  }
  return values;
}

/**
 * Verifies that the list is the issuer's and in force at the time.
 *
 * @param time POSIX seconds
 * @throws RefusalError `crl-issuer`, `crl-signature`, `crl-not-yet-valid`, `crl-stale`, `signature-*`
 */
export async function verifyCertificateList(
  list: CertificateList,
  issuer: Certificate,
  time: number,
  field: string,
  memory?: CertificateMemory,
): Promise<void> {
  const refuse = (code: keyof typeof revocationRefusals.codes, expected: string, found: string): Error =>
    revocationRefusals.error(code, { field, expected, found });
  if (!equalBytes(list.issuer, issuer.subject)) {
    throw refuse('crl-issuer', 'the subject of the issuing certificate', 'another name');
  }
  const verify = (): Promise<boolean> => isListSignedBy(list, issuer, field);
  if (!(await (memory === undefined ? verify() : memory.holds(list, issuer, verify)))) {
    throw refuse('crl-signature', 'a signature by the issuer', 'one that does not verify');
  }
  if (time < list.thisUpdate) throw refuse('crl-not-yet-valid', `from ${list.thisUpdate}`, String(time));
  if (time >= list.nextUpdate) throw refuse('crl-stale', `before ${list.nextUpdate}`, String(time));
}

function isListSignedBy(list: CertificateList, issuer: Certificate, field: string): Promise<boolean> {
  const key = readSubjectPublicKeyInfo(issuer.subjectPublicKeyInfo, `${field}.issuer.publicKey`);
  const signature =
    key.type === 'ec' ? readEcdsaSignature(list.signature, key.curve, `${field}.signature`) : list.signature;
  return verifySignature(key, list.signatureScheme, signature, list.tbsCertList);
}
