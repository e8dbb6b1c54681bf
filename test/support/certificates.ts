/** Certificates for tests, issued by node-forge: any rule for certificates can be broken on purpose. */

import forge from 'node-forge';

export interface Authority {
  readonly der: Uint8Array<ArrayBuffer>;
  readonly name: string;
  readonly keys: forge.pki.rsa.KeyPair;
}

type ForgeExtension = Readonly<Record<string, unknown>>;

export interface CertificateOptions {
  readonly subject: string;
  readonly keys: forge.pki.rsa.KeyPair;
  readonly extensions: readonly ForgeExtension[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly digest?: 'sha1' | 'sha256';
}

/** All tests share one key a role: making RSA keys is slow and their values do not matter. */
const pairs = new Map<string, forge.pki.rsa.KeyPair>();
export function rsaKeys(role: string): forge.pki.rsa.KeyPair {
  const known = pairs.get(role) ?? forge.pki.rsa.generateKeyPair({ bits: 2048, e: 65537 });
  pairs.set(role, known);
  return known;
}

export function issueCertificate(
  issuer: Omit<Authority, 'der'>,
  options: CertificateOptions,
): Uint8Array<ArrayBuffer> {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = options.keys.publicKey;
  certificate.serialNumber = '01';
  certificate.validity.notBefore = options.notBefore ?? new Date('2020-01-01T00:00:00Z');
  certificate.validity.notAfter = options.notAfter ?? new Date('2040-01-01T00:00:00Z');
  certificate.setSubject(options.subject === '' ? [] : [{ name: 'commonName', value: options.subject }]);
  certificate.setIssuer([{ name: 'commonName', value: issuer.name }]);
  certificate.setExtensions([...options.extensions]);
  const digest = options.digest === 'sha1' ? forge.md.sha1.create() : forge.md.sha256.create();
  certificate.sign(issuer.keys.privateKey, digest);
  const der = forge.asn1.toDer(forge.pki.certificateToAsn1(certificate)).getBytes();
  return Uint8Array.from(Buffer.from(der, 'binary'));
}

export const AUTHORITY_EXTENSIONS: readonly ForgeExtension[] = [
  { name: 'basicConstraints', cA: true, critical: true },
  { name: 'keyUsage', keyCertSign: true, critical: true },
];

/** A self-signed authority. */
export function makeAuthority(name: string): Authority {
  const keys = rsaKeys(name);
  const der = issueCertificate({ name, keys }, { subject: name, keys, extensions: AUTHORITY_EXTENSIONS });
  return { der, name, keys };
}

const { asn1 } = forge;
const universal = asn1.Class.UNIVERSAL;

function sequence(...items: forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return asn1.create(universal, asn1.Type.SEQUENCE, true, items);
}

function set(...items: forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return asn1.create(universal, asn1.Type.SET, true, items);
}

function identifier(dotted: string): forge.asn1.Asn1 {
  return asn1.create(universal, asn1.Type.OID, false, asn1.oidToDer(dotted).getBytes());
}

function utf8(text: string): forge.asn1.Asn1 {
  return asn1.create(universal, asn1.Type.UTF8, false, text);
}

function small(value: number): forge.asn1.Asn1 {
  return asn1.create(universal, asn1.Type.INTEGER, false, asn1.integerToDer(value).getBytes());
}

/** subjectAltName of an endorsement certificate. */
export function tpmNameExtension(attributes: Readonly<Record<string, string>>): ForgeExtension {
  const names = Object.entries(attributes).map(([type, text]) => set(sequence(identifier(type), utf8(text))));
  // Context tag 4 is directoryName; in node-forge's types only OCTET STRING has that number.
  const tag = asn1.Type.OCTETSTRING;
  const directoryName = asn1.create(asn1.Class.CONTEXT_SPECIFIC, tag, true, [sequence(...names)]);
  return { id: '2.5.29.17', critical: true, value: asn1.toDer(sequence(directoryName)).getBytes() };
}

/** subjectDirectoryAttributes with the TPM specification. */
export function tpmSpecificationExtension(family: string): ForgeExtension {
  const specification = set(sequence(utf8(family), small(0), small(138)));
  const value = sequence(sequence(identifier('2.23.133.2.16'), specification));
  return { id: '2.5.29.9', critical: false, value: asn1.toDer(value).getBytes() };
}
