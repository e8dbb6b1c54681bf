/**
 * A certificate authority for servers that have none: one self-signed authority and one server certificate that it
 * issues (docs/spec/release-protocol.md, RP-4). The keys come from the platform's own generator; node-forge writes
 * the certificates (RFC 5280). Whoever has certificates of their own uses those instead.
 */

import { generateKeyPair, randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { promisify } from 'node:util';

import forge from 'node-forge';

/** A certificate and its private key, both PEM. */
interface CertifiedKey {
  readonly certificate: string;
  /** Secret: PKCS #8, not encrypted. Written with mode 0600 only. */
  readonly privateKey: string;
}

export interface DevelopmentAuthority {
  readonly authority: CertifiedKey;
  readonly server: CertifiedKey;
}

/** What the certificate of a development server always names: every spelling of this machine. */
const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '::1'];
const VALIDITY_DAYS = 365;
/** Room for a client whose clock is a little behind that of the server. */
const CLOCK_SKEW_SECONDS = 3600;
/** RSA, because node-forge signs with nothing else; 3072 bits are worth 128. */
const MODULUS_BITS = 3072;
const SUBJECT_ALTERNATIVE_NAME = { dns: 2, address: 7 } as const;

const generate = promisify(generateKeyPair);

interface PemKeyPair {
  readonly publicKey: string;
  readonly privateKey: string;
}

async function generatePemKeyPair(): Promise<PemKeyPair> {
  return await generate('rsa', {
    modulusLength: MODULUS_BITS,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
}

/**
 * Makes an authority and the certificate of one server.
 *
 * @param names DNS names and addresses of the server besides those of this machine; comes from the operator
 * @param posixSeconds the time from which the certificates count, in POSIX seconds
 */
export async function createDevelopmentAuthority(
  names: readonly string[],
  posixSeconds: number,
): Promise<DevelopmentAuthority> {
  const [authorityKeys, serverKeys] = await Promise.all([generatePemKeyPair(), generatePemKeyPair()]);
  const issuer = [{ name: 'commonName', value: 'Weightgate development authority' }];
  const certificate = issue({
    subject: issuer,
    issuer,
    publicKey: authorityKeys.publicKey,
    issuerKey: authorityKeys.privateKey,
    posixSeconds,
    extensions: authorityExtensions(),
  });
  const authority = { certificate, privateKey: authorityKeys.privateKey };
  return { authority, server: issueServerCertificate(authority, serverKeys, names, posixSeconds) };
}

function issueServerCertificate(
  authority: CertifiedKey,
  keys: PemKeyPair,
  names: readonly string[],
  posixSeconds: number,
): CertifiedKey {
  const certificate = issue({
    subject: [{ name: 'commonName', value: 'Weightgate key-release server' }],
    issuer: forge.pki.certificateFromPem(authority.certificate).subject.attributes,
    publicKey: keys.publicKey,
    issuerKey: authority.privateKey,
    posixSeconds,
    extensions: serverExtensions([...new Set([...LOOPBACK_NAMES, ...names])]),
  });
  return { certificate, privateKey: keys.privateKey };
}

interface IssuedCertificate {
  readonly subject: forge.pki.CertificateField[];
  readonly issuer: forge.pki.CertificateField[];
  readonly publicKey: string;
  readonly issuerKey: string;
  readonly posixSeconds: number;
  readonly extensions: readonly Readonly<Record<string, unknown>>[];
}

function issue(wanted: IssuedCertificate): string {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(wanted.publicKey);
  certificate.serialNumber = randomSerialNumber();
  certificate.validity.notBefore = new Date((wanted.posixSeconds - CLOCK_SKEW_SECONDS) * 1000);
  certificate.validity.notAfter = new Date((wanted.posixSeconds + VALIDITY_DAYS * 86_400) * 1000);
  certificate.setSubject(wanted.subject);
  certificate.setIssuer(wanted.issuer);
  certificate.setExtensions([...wanted.extensions]);
  certificate.sign(forge.pki.privateKeyFromPem(wanted.issuerKey), forge.md.sha256.create());
  return forge.pki.certificateToPem(certificate);
}

/** RFC 5280 section 4.1.2.2: positive and at most 20 bytes. The first byte keeps the sign bit clear and is not zero. */
function randomSerialNumber(): string {
  return `4${randomBytes(16).toString('hex').slice(1)}`;
}

/** The authority may issue server certificates and nothing below itself. */
function authorityExtensions(): readonly Readonly<Record<string, unknown>>[] {
  return [
    { name: 'basicConstraints', critical: true, cA: true, pathLenConstraint: 0 },
    { name: 'keyUsage', critical: true, keyCertSign: true, cRLSign: true },
    { name: 'subjectKeyIdentifier' },
  ];
}

function serverExtensions(names: readonly string[]): readonly Readonly<Record<string, unknown>>[] {
  const altNames = names.map((name) =>
    isIP(name) === 0
      ? { type: SUBJECT_ALTERNATIVE_NAME.dns, value: name }
      : { type: SUBJECT_ALTERNATIVE_NAME.address, ip: name },
  );
  return [
    { name: 'basicConstraints', critical: true, cA: false },
    { name: 'keyUsage', critical: true, digitalSignature: true },
    { name: 'extKeyUsage', serverAuth: true },
    { name: 'subjectAltName', altNames },
    { name: 'subjectKeyIdentifier' },
  ];
}
