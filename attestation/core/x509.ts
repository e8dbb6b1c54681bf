/**
 * Reading X.509 certificates (RFC 5280). Facts only: what a certificate says, not whether it is authentic
 * (certificate-path.ts) or good for something. Names are kept as raw bytes, because real issuers write names that
 * are not DER and a name is only ever compared with the same name.
 */

import { equalBytes } from './bytes.ts';
import {
  bitStringOf,
  booleanOf,
  byteStringOf,
  contentOf,
  contextTag,
  objectIdentifierOf,
  readElement,
  smallIntegerOf,
  Tag,
  timeOf,
} from './der.ts';
import type { DerElement, DerReader } from './der.ts';
import { defineRefusals } from './refusal.ts';
import type { HashName, SignatureScheme } from './signature.ts';

export const certificateRefusals = defineRefusals('malformed', {
  'certificate-version': {
    means: 'A certificate is not of version 3.',
    hint: 'Only X.509 version 3 certificates say what their key may be used for.',
  },
  'certificate-algorithm': {
    means: 'A certificate is signed with an algorithm that is not accepted, or names two different ones.',
    hint: 'Accepted are RSASSA-PKCS1, RSASSA-PSS and ECDSA with SHA-256, SHA-384 or SHA-512.',
  },
  'certificate-extension': {
    means: 'An extension of a certificate stands there twice or holds what it must not.',
    hint: 'The certificate was made wrongly; ask its issuer for another.',
  },
  'certificate-name': {
    means: 'A name in a certificate has an attribute twice.',
    hint: 'The certificate was made wrongly; ask its issuer for another.',
  },
});

interface Extension {
  readonly isCritical: boolean;
  readonly value: Uint8Array;
}

/** Identifiers of the extensions that are read here. */
export const ExtensionId = {
  subjectDirectoryAttributes: '2.5.29.9',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  certificatePolicies: '2.5.29.32',
  extendedKeyUsage: '2.5.29.37',
} as const;

/** KeyUsage (RFC 5280 section 4.2.1.3), by the number of the bit. */
export const KeyUsage = {
  digitalSignature: 0,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
} as const;

export interface Certificate {
  readonly encoded: Uint8Array;
  /** The bytes that the issuer signed. */
  readonly tbsCertificate: Uint8Array;
  readonly serialNumber: Uint8Array;
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** POSIX seconds, both inclusive. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly subjectPublicKeyInfo: Uint8Array;
  readonly extensions: ReadonlyMap<string, Extension>;
  readonly isAuthority: boolean;
  /** How many further authorities may follow below; undefined when that is not limited. */
  readonly pathLength: number | undefined;
  /** Numbers of the bits that are set; undefined when the extension is missing. */
  readonly keyUsage: ReadonlySet<number> | undefined;
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly signatureScheme: SignatureScheme;
  readonly signature: Uint8Array;
}

/** Far above every certificate of the field; bounds the work of a hostile one. */
const MAX_EXTENSIONS = 32;

/** Reads one certificate that makes up the whole input. @throws RefusalError `der-*`, `certificate-*` */
export function readCertificate(bytes: Uint8Array, path: string): Certificate {
  const reader = contentOf(readElement(bytes, Tag.sequence, path));
  const tbsElement = reader.next(Tag.sequence, 'tbsCertificate');
  const algorithm = reader.next(Tag.sequence, 'signatureAlgorithm');
  const signature = byteStringOf(reader.next(Tag.bitString, 'signature'));
  reader.end();
  const tbs = readTbsCertificate(tbsElement, algorithm);
  return {
    encoded: bytes,
    tbsCertificate: tbsElement.encoded,
    ...tbs,
    ...readKnownExtensions(tbs.extensions, path),
    signatureScheme: readSignatureScheme(algorithm),
    signature,
  };
}

type TbsMembers = Pick<
  Certificate,
  'serialNumber' | 'issuer' | 'subject' | 'notBefore' | 'notAfter' | 'subjectPublicKeyInfo' | 'extensions'
>;

function readTbsCertificate(element: DerElement, outerAlgorithm: DerElement): TbsMembers {
  const tbs = contentOf(element);
  readVersion(tbs, element.path);
  const serialNumber = tbs.next(Tag.integer, 'serialNumber').content;
  const innerAlgorithm = tbs.next(Tag.sequence, 'signature');
  if (!equalBytes(innerAlgorithm.encoded, outerAlgorithm.encoded)) {
    throw badAlgorithm(innerAlgorithm.path, 'the algorithm named outside', 'another');
  }
  const issuer = tbs.next(Tag.sequence, 'issuer').encoded;
  const validity = contentOf(tbs.next(Tag.sequence, 'validity'));
  const notBefore = timeOf(validity.any('notBefore'));
  const notAfter = timeOf(validity.any('notAfter'));
  validity.end();
  const subject = tbs.next(Tag.sequence, 'subject').encoded;
  const subjectPublicKeyInfo = tbs.next(Tag.sequence, 'subjectPublicKeyInfo').encoded;
  const extensions = readExtensions(tbs);
  tbs.end();
  return { serialNumber, issuer, subject, notBefore, notAfter, subjectPublicKeyInfo, extensions };
}

function readVersion(tbs: DerReader, path: string): void {
  const wrapper = tbs.optional(contextTag(0, 'constructed'), 'version');
  const inner = wrapper === undefined ? undefined : contentOf(wrapper);
  const version = inner === undefined ? 0 : smallIntegerOf(inner.next(Tag.integer, 'version'));
  inner?.end();
  if (version !== 2) {
    throw certificateRefusals.error('certificate-version', {
      field: path,
      expected: 'version 3',
      found: `version ${version + 1}`,
    });
  }
}

function readExtensions(tbs: DerReader): ReadonlyMap<string, Extension> {
  const wrapper = contentOf(tbs.next(contextTag(3, 'constructed'), 'extensions'));
  const list = wrapper.next(Tag.sequence, 'list');
  wrapper.end();
  const reader = contentOf(list);
  const extensions = new Map<string, Extension>();
  while (!reader.isAtEnd) {
    const extension = contentOf(reader.next(Tag.sequence, 'extension'));
    const identifier = objectIdentifierOf(extension.next(Tag.objectIdentifier, 'identifier'));
    const critical = extension.optional(Tag.boolean, 'critical');
    const value = extension.next(Tag.octetString, 'value').content;
    extension.end();
    if (extensions.has(identifier) || extensions.size === MAX_EXTENSIONS) {
      throw badExtension(
        list.path,
        `at most ${MAX_EXTENSIONS} extensions, each once`,
        `${identifier} again or too many`,
      );
    }
    extensions.set(identifier, { isCritical: critical !== undefined && booleanOf(critical), value });
  }
  return extensions;
}

type KnownExtensions = Pick<Certificate, 'isAuthority' | 'pathLength' | 'keyUsage' | 'extendedKeyUsage'>;

function readKnownExtensions(extensions: ReadonlyMap<string, Extension>, path: string): KnownExtensions {
  const valueOf = (identifier: string): Uint8Array | undefined => extensions.get(identifier)?.value;
  const keyUsage = valueOf(ExtensionId.keyUsage);
  const extendedKeyUsage = valueOf(ExtensionId.extendedKeyUsage);
  return {
    ...readBasicConstraints(valueOf(ExtensionId.basicConstraints), `${path}.basicConstraints`),
    keyUsage: keyUsage && readKeyUsage(keyUsage, `${path}.keyUsage`),
    extendedKeyUsage: extendedKeyUsage && readExtendedKeyUsage(extendedKeyUsage, `${path}.extendedKeyUsage`),
  };
}

function readBasicConstraints(
  value: Uint8Array | undefined,
  path: string,
): Pick<Certificate, 'isAuthority' | 'pathLength'> {
  if (value === undefined) return { isAuthority: false, pathLength: undefined };
  const reader = contentOf(readElement(value, Tag.sequence, path));
  const authority = reader.optional(Tag.boolean, 'cA');
  const length = reader.optional(Tag.integer, 'pathLenConstraint');
  reader.end();
  const isAuthority = authority !== undefined && booleanOf(authority);
  if (!isAuthority && length !== undefined)
    throw badExtension(path, 'a path length only with cA', 'one without');
  return { isAuthority, pathLength: length && smallIntegerOf(length) };
}

function readKeyUsage(value: Uint8Array, path: string): ReadonlySet<number> {
  const { bytes } = bitStringOf(readElement(value, Tag.bitString, path));
  const bits = Array.from({ length: bytes.length * 8 }, (_, bit) => bit);
  return new Set(bits.filter((bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0));
}

function readExtendedKeyUsage(value: Uint8Array, path: string): readonly string[] {
  const reader = contentOf(readElement(value, Tag.sequence, path));
  const purposes: string[] = [];
  while (!reader.isAtEnd) purposes.push(objectIdentifierOf(reader.next(Tag.objectIdentifier, 'purpose')));
  return purposes;
}

const RSASSA_PSS = '1.2.840.113549.1.1.10';
const MGF1 = '1.2.840.113549.1.1.8';

/** Each algorithm with the parameters that RFC 4055 and RFC 5758 demand: NULL for RSA, none for ECDSA. */
const SCHEMES: ReadonlyMap<string, SignatureScheme> = new Map([
  ['1.2.840.113549.1.1.11', { algorithm: 'rsassa-pkcs1', hash: 'SHA-256' }],
  ['1.2.840.113549.1.1.12', { algorithm: 'rsassa-pkcs1', hash: 'SHA-384' }],
  ['1.2.840.113549.1.1.13', { algorithm: 'rsassa-pkcs1', hash: 'SHA-512' }],
  ['1.2.840.10045.4.3.2', { algorithm: 'ecdsa', hash: 'SHA-256' }],
  ['1.2.840.10045.4.3.3', { algorithm: 'ecdsa', hash: 'SHA-384' }],
  ['1.2.840.10045.4.3.4', { algorithm: 'ecdsa', hash: 'SHA-512' }],
]);

const HASHES: ReadonlyMap<string, HashName> = new Map([
  ['2.16.840.1.101.3.4.2.1', 'SHA-256'],
  ['2.16.840.1.101.3.4.2.2', 'SHA-384'],
  ['2.16.840.1.101.3.4.2.3', 'SHA-512'],
]);

/** Reads an AlgorithmIdentifier of a signature. @throws RefusalError `certificate-algorithm`, `der-*` */
export function readSignatureScheme(element: DerElement): SignatureScheme {
  const reader = contentOf(element);
  const identifier = objectIdentifierOf(reader.next(Tag.objectIdentifier, 'algorithm'));
  if (identifier === RSASSA_PSS) return readPssScheme(reader, element.path);
  const scheme = SCHEMES.get(identifier);
  if (scheme === undefined) throw badAlgorithm(element.path, 'an accepted signature algorithm', identifier);
  if (scheme.algorithm === 'rsassa-pkcs1') reader.next(Tag.null, 'parameters');
  reader.end();
  return scheme;
}

/** RSASSA-PSS-params (RFC 4055 section 3.1): hash, MGF1 with the same hash, a salt as long as the hash. */
function readPssScheme(algorithm: DerReader, path: string): SignatureScheme {
  const parameters = contentOf(algorithm.next(Tag.sequence, 'parameters'));
  algorithm.end();
  const explicit = (number: number, name: string): DerReader =>
    contentOf(parameters.next(contextTag(number, 'constructed'), name));
  const hash = readHash(explicit(0, 'hashAlgorithm'), path);
  const mask = contentOf(explicit(1, 'maskGenAlgorithm').next(Tag.sequence, 'algorithm'));
  const maskIdentifier = objectIdentifierOf(mask.next(Tag.objectIdentifier, 'algorithm'));
  const maskHash = readHash(mask, path);
  const saltLength = smallIntegerOf(explicit(2, 'saltLength').next(Tag.integer, 'value'));
  readDefaultTrailer(parameters, path);
  parameters.end();
  if (maskIdentifier !== MGF1 || maskHash !== hash || saltLength !== Number(hash.slice(4)) / 8) {
    throw badAlgorithm(
      path,
      'MGF1 and a salt of the same hash',
      `${maskIdentifier}, salt of ${saltLength} bytes`,
    );
  }
  return { algorithm: 'rsa-pss', hash };
}

/**
 * The trailerField, whose only value is its default. DER leaves defaults out; AMD's older certificates write it, and
 * nothing else is tolerated.
 */
function readDefaultTrailer(parameters: DerReader, path: string): void {
  const wrapper = parameters.optional(contextTag(3, 'constructed'), 'trailerField');
  if (wrapper === undefined) return;
  const reader = contentOf(wrapper);
  const trailer = smallIntegerOf(reader.next(Tag.integer, 'value'));
  reader.end();
  if (trailer !== 1) throw badAlgorithm(path, 'the trailer field 1', String(trailer));
}

function readHash(reader: DerReader, path: string): HashName {
  const algorithm = contentOf(reader.next(Tag.sequence, 'hash'));
  const identifier = objectIdentifierOf(algorithm.next(Tag.objectIdentifier, 'algorithm'));
  algorithm.optional(Tag.null, 'parameters');
  algorithm.end();
  reader.end();
  const hash = HASHES.get(identifier);
  if (hash === undefined) throw badAlgorithm(path, 'SHA-256, SHA-384 or SHA-512', identifier);
  return hash;
}

function badAlgorithm(field: string, expected: string, found: string): Error {
  return certificateRefusals.error('certificate-algorithm', { field, expected, found });
}

function badExtension(field: string, expected: string, found: string): Error {
  return certificateRefusals.error('certificate-extension', { field, expected, found });
}
