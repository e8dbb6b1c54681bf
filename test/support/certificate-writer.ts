/**
 * Certificates for tests with any public key, any extension and any signature scheme: node-forge encodes, node:crypto
 * signs. certificates.ts is the simpler way where RSA keys and PKCS #1 signatures do.
 */

import { constants, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import forge from 'node-forge';

const { asn1 } = forge;
const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class;

type Element = forge.asn1.Asn1;

/** How the issuer signs. */
export type IssuerScheme = 'rsa-pkcs1-sha256' | 'rsa-pss-sha384';

export interface CertificateExtension {
  readonly identifier: string;
  readonly critical: boolean;
  /** Content of extnValue. */
  readonly value: Uint8Array;
}

export interface CertificateContents {
  /** Common names; nothing else stands in the names. */
  readonly issuer: string;
  readonly subject: string;
  readonly serialNumber: number;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly extensions: readonly CertificateExtension[];
}

/** A certificate in DER. */
export function writeCertificate(
  contents: CertificateContents,
  issuerKey: KeyObject,
  scheme: IssuerScheme,
): Uint8Array<ArrayBuffer> {
  const algorithm = ALGORITHMS[scheme]();
  const tbs = sequence(
    context(0, integer(2)),
    integer(contents.serialNumber),
    algorithm,
    commonName(contents.issuer),
    sequence(utcTime(contents.notBefore), utcTime(contents.notAfter)),
    commonName(contents.subject),
    fromDer(contents.publicKey),
    context(3, sequence(...contents.extensions.map(extension))),
  );
  const signature = signWith(issuerKey, scheme, toDer(tbs));
  return toDer(sequence(tbs, algorithm, bitString(signature)));
}

/** keyUsage and basicConstraints of an authority; `pathLength` undefined leaves it open. */
export function authorityExtensions(pathLength: number | undefined): readonly CertificateExtension[] {
  const constraints = [primitive(asn1.Type.BOOLEAN, '\xff')];
  if (pathLength !== undefined) constraints.push(integer(pathLength));
  return [
    { identifier: '2.5.29.19', critical: true, value: toDer(sequence(...constraints)) },
    { identifier: '2.5.29.15', critical: true, value: Uint8Array.of(3, 2, 1, 0x06) },
  ];
}

/** keyUsage of a key that signs and does nothing else. */
export const signingUsage: CertificateExtension = {
  identifier: '2.5.29.15',
  critical: true,
  value: Uint8Array.of(3, 2, 7, 0x80),
};

const ALGORITHMS: Readonly<Record<IssuerScheme, () => Element>> = {
  'rsa-pkcs1-sha256': () => sequence(identifier('1.2.840.113549.1.1.11'), primitive(asn1.Type.NULL, '')),
  'rsa-pss-sha384': () => {
    const sha384 = (): Element => sequence(identifier('2.16.840.1.101.3.4.2.2'));
    const parameters = sequence(
      context(0, sha384()),
      context(1, sequence(identifier('1.2.840.113549.1.1.8'), sha384())),
      context(2, integer(48)),
    );
    return sequence(identifier('1.2.840.113549.1.1.10'), parameters);
  },
};

function signWith(key: KeyObject, scheme: IssuerScheme, bytes: Uint8Array): Uint8Array {
  if (scheme === 'rsa-pkcs1-sha256') return sign('sha256', bytes, key);
  return sign('sha384', bytes, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 });
}

function extension({ identifier: name, critical, value }: CertificateExtension): Element {
  const flag = critical ? [primitive(asn1.Type.BOOLEAN, '\xff')] : [];
  return sequence(identifier(name), ...flag, primitive(asn1.Type.OCTETSTRING, binary(value)));
}

function commonName(text: string): Element {
  const attribute = sequence(identifier('2.5.4.3'), primitive(asn1.Type.UTF8, forge.util.encodeUtf8(text)));
  return sequence(asn1.create(UNIVERSAL, asn1.Type.SET, true, [attribute]));
}

/** The types of node-forge know context tags by the universal types of the same numbers only. */
const CONTEXT_TAGS = [asn1.Type.NONE, asn1.Type.BOOLEAN, asn1.Type.INTEGER, asn1.Type.BITSTRING] as const;

function context(tag: 0 | 1 | 2 | 3, content: Element): Element {
  return asn1.create(CONTEXT_SPECIFIC, CONTEXT_TAGS[tag], true, [content]);
}

function sequence(...items: Element[]): Element {
  return asn1.create(UNIVERSAL, asn1.Type.SEQUENCE, true, items);
}

function primitive(type: forge.asn1.Type, content: string): Element {
  return asn1.create(UNIVERSAL, type, false, content);
}

function integer(value: number): Element {
  return primitive(asn1.Type.INTEGER, asn1.integerToDer(value).getBytes());
}

function identifier(dotted: string): Element {
  return primitive(asn1.Type.OID, asn1.oidToDer(dotted).getBytes());
}

function utcTime(time: Date): Element {
  return primitive(asn1.Type.UTCTIME, asn1.dateToUtcTime(time));
}

function bitString(bytes: Uint8Array): Element {
  return primitive(asn1.Type.BITSTRING, `\0${binary(bytes)}`);
}

function binary(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('binary');
}

function fromDer(bytes: Uint8Array): Element {
  return asn1.fromDer(binary(bytes));
}

function toDer(element: Element): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(asn1.toDer(element).getBytes(), 'binary'));
}
