/**
 * Certificate paths (RFC 5280 section 6, in the part that hardware vendors' hierarchies need). Anchors are arguments
 * and are recognised by their public key alone: never by a name, which anybody can write.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { equalBytes, toHex } from './bytes.ts';
import { oncePer, remembered } from './certificate-memory.ts';
import type { CertificateMemory } from './certificate-memory.ts';
import { readSubjectPublicKeyInfo } from './public-key.ts';
import { defineRefusals } from './refusal.ts';
import { readEcdsaSignature, verifySignature } from './signature.ts';
import { ExtensionId, KeyUsage, readCertificate } from './x509.ts';
import type { Certificate } from './x509.ts';

export const pathRefusals = defineRefusals('inauthentic', {
  'path-untrusted': {
    means: 'A certificate does not lead to any of the accepted authorities.',
    hint: 'Send the missing intermediate certificates, or have the operator add the vendor’s authority.',
  },
  'path-length': {
    means: 'A certificate path is longer than allowed, or goes on above its anchor.',
    hint: 'Send the intermediates in order from the leaf upwards, without others.',
  },
  'path-signature': {
    means: 'A certificate is not signed by the one above it.',
    hint: 'The certificate was altered, or its issuer’s name was copied.',
  },
  'path-authority': {
    means: 'A certificate in the middle of a path may not issue certificates.',
    hint: 'A certificate of a device or person was put in the place of an authority.',
  },
  'path-validity': {
    means: 'A certificate of the path is not valid at the time of verification.',
    hint: 'Renew the certificate, or check the clock of the verifier.',
  },
  'path-critical-extension': {
    means: 'A certificate has a critical extension that this release does not understand.',
    hint: 'A newer release may know it; it must not be ignored.',
  },
});

/**
 * What an authority is believed about (the roles of RFC 9334): endorsements of devices, reference values, or attestation
 * results of another verifier. A vendor has a root for each, and none of them ever stands for another.
 */
export type AnchorPurpose = 'endorsements' | 'reference-values' | 'attestation-results';

interface CommonAnchor {
  readonly name: string;
  /** Endorsements where it is not given. */
  readonly purpose?: AnchorPurpose;
}

/** An authority that the operator accepts, given by its certificate. */
export interface CertificateAnchor extends CommonAnchor {
  /** DER. Only its subject name and public key count; that it is self-signed proves nothing. */
  readonly certificate: Uint8Array;
  /** Whether it vouches for simulated hardware (W9). */
  readonly simulated: boolean;
}

/** An authority that the operator accepts, given by its key alone. Its certificate has to come with the chain. */
export interface PinnedKeyAnchor extends CommonAnchor {
  /** SHA-256 of the SubjectPublicKeyInfo, 32 bytes. */
  readonly publicKeyDigest: Uint8Array;
  /** Whether it vouches for simulated hardware (W9). */
  readonly simulated: boolean;
}

export type TrustAnchor = CertificateAnchor | PinnedKeyAnchor;

/** The anchors that count for one purpose. */
export function anchorsFor(purpose: AnchorPurpose, anchors: readonly TrustAnchor[]): readonly TrustAnchor[] {
  return anchors.filter((anchor) => (anchor.purpose ?? 'endorsements') === purpose);
}

/**
 * What happens with validity periods. `enforce`: every certificate but the anchor must be valid at the time.
 * `ignore-expiry`: notAfter is not looked at, for hardware that outlives its vendor's certificates.
 */
export type ValidityPolicy = 'enforce' | 'ignore-expiry';

export interface PathInputs {
  /** DER, from the one that issued the leaf upwards; the anchor itself may end it. Given by the attester. */
  readonly intermediates: readonly Uint8Array[];
  readonly anchors: readonly TrustAnchor[];
  /** What the leaf is to be believed about: anchors of another purpose do not count. Endorsements where it is not given. */
  readonly purpose?: AnchorPurpose;
  /** POSIX seconds. */
  readonly time: number;
  readonly validity: ValidityPolicy;
  /** Extensions of the leaf that the caller understands and judges itself. */
  readonly understoodLeafExtensions: readonly string[];
  /** Makes it faster and decides nothing. */
  readonly memory?: CertificateMemory | undefined;
}

/** Longest accepted list of intermediates. */
const MAX_INTERMEDIATES = 6;

/** Critical extensions that the path rules below deal with. Any policy is acceptable, as no policy is demanded. */
const UNDERSTOOD: readonly string[] = [
  ExtensionId.basicConstraints,
  ExtensionId.keyUsage,
  ExtensionId.certificatePolicies,
];

/** SHA-256 of an anchor's SubjectPublicKeyInfo: its identity. @throws RefusalError if it is no certificate */
export function anchorDigest(anchor: TrustAnchor): Uint8Array {
  if ('publicKeyDigest' in anchor) return anchor.publicKeyDigest;
  return sha256(readCertificate(anchor.certificate, `anchor ${anchor.name}`).subjectPublicKeyInfo);
}

interface Authority {
  readonly anchor: TrustAnchor;
  readonly certificate: Certificate;
}

/**
 * Verifies the path from a leaf to an anchor and tells which anchor it was.
 *
 * @throws RefusalError `path-*`, and what reading an intermediate can throw
 */
export async function verifyCertificatePath(leaf: Certificate, given: PathInputs): Promise<TrustAnchor> {
  const inputs = { ...given, anchors: anchorsFor(given.purpose ?? 'endorsements', given.anchors) };
  if (inputs.intermediates.length > MAX_INTERMEDIATES) {
    throw pathRefusals.error('path-length', {
      field: 'chain',
      expected: `at most ${MAX_INTERMEDIATES} intermediate certificates`,
      found: String(inputs.intermediates.length),
    });
  }
  const { memory } = inputs;
  const chain = inputs.intermediates.map((bytes, i) => recallCertificate(bytes, `chain[${i}]`, memory));
  const anchors = inputs.anchors.flatMap((anchor) => authorityOf(anchor, chain, memory));
  const { authority, used } = await climb(leaf, chain, anchors, inputs);
  if (used !== chain.length) {
    throw pathRefusals.error('path-length', {
      field: 'chain',
      expected: `${used} certificates up to ${authority.anchor.name}`,
      found: `${chain.length} certificates`,
    });
  }
  return authority.anchor;
}

/** The anchor with its certificate. A pinned key is an authority only where the chain has a certificate of that key. */
function authorityOf(
  anchor: TrustAnchor,
  chain: readonly Certificate[],
  memory: CertificateMemory | undefined,
): readonly Authority[] {
  if ('certificate' in anchor) {
    const certificate = recallCertificate(anchor.certificate, `anchor ${anchor.name}`, memory);
    return [{ anchor, certificate }];
  }
  return chain
    .filter((candidate) => equalBytes(keyDigest(candidate), anchor.publicKeyDigest))
    .map((certificate) => ({ anchor, certificate }));
}

/** Goes up from the leaf until an anchor has signed. `used` counts the certificates of the chain that it took. */
async function climb(
  leaf: Certificate,
  chain: readonly Certificate[],
  anchors: readonly Authority[],
  inputs: PathInputs,
): Promise<{ readonly authority: Authority; readonly used: number }> {
  let current = leaf;
  checkCertificate(leaf, 'certificate', inputs, inputs.understoodLeafExtensions);
  for (let depth = 0; ; depth += 1) {
    const next = chain[depth];
    const authority = await signingAnchor(current, anchors, pathField(depth), inputs.memory);
    if (authority !== undefined) {
      checkPathLength(authority.certificate, depth, pathField(depth));
      return { authority, used: next !== undefined && isAnchor(next, authority) ? depth + 1 : depth };
    }
    if (next === undefined || !equalBytes(next.subject, current.issuer))
      throw untrusted(depth, inputs.anchors);
    const field = `chain[${depth}]`;
    checkCertificate(next, field, inputs, []);
    checkAuthority(next, depth, field);
    await checkSignature(current, next, pathField(depth), inputs.memory);
    current = next;
  }
}

/** The anchor whose key signed the certificate. Several may have the issuer's name, as after a change of keys. */
async function signingAnchor(
  certificate: Certificate,
  anchors: readonly Authority[],
  field: string,
  memory: CertificateMemory | undefined,
): Promise<Authority | undefined> {
  for (const authority of anchors) {
    if (!equalBytes(authority.certificate.subject, certificate.issuer)) continue;
    if (await isSignedBy(certificate, authority.certificate, field, memory)) return authority;
  }
  return undefined;
}

function pathField(depth: number): string {
  return depth === 0 ? 'certificate' : `chain[${depth - 1}]`;
}

/** SHA-256 of the SubjectPublicKeyInfo, 32 bytes. */
export const keyDigest = oncePer(({ subjectPublicKeyInfo }: Certificate) => sha256(subjectPublicKeyInfo));

function isAnchor(certificate: Certificate, { certificate: anchor }: Authority): boolean {
  return (
    equalBytes(certificate.subjectPublicKeyInfo, anchor.subjectPublicKeyInfo) &&
    equalBytes(certificate.subject, anchor.subject)
  );
}

function untrusted(depth: number, anchors: readonly TrustAnchor[]): Error {
  return pathRefusals.error('path-untrusted', {
    field: pathField(depth),
    expected: `a path to ${anchors.map(({ name }) => name).join(', ') || 'an anchor (none is configured)'}`,
    found: 'an issuer that is neither an anchor nor the next certificate of the chain',
  });
}

function checkCertificate(
  certificate: Certificate,
  field: string,
  { time, validity }: PathInputs,
  understood: readonly string[],
): void {
  const isExpired = validity === 'enforce' && time > certificate.notAfter;
  if (time < certificate.notBefore || isExpired) {
    throw pathRefusals.error('path-validity', {
      field,
      expected: `a time from ${certificate.notBefore} to ${certificate.notAfter}`,
      found: String(time),
    });
  }
  for (const [identifier, { isCritical }] of certificate.extensions) {
    if (!isCritical || UNDERSTOOD.includes(identifier) || understood.includes(identifier)) continue;
    throw pathRefusals.error('path-critical-extension', {
      field,
      expected: 'critical extensions that this release understands',
      found: identifier,
    });
  }
}

function checkAuthority(certificate: Certificate, authoritiesBelow: number, field: string): void {
  const mayIssue = certificate.isAuthority && certificate.keyUsage?.has(KeyUsage.keyCertSign) === true;
  if (!mayIssue) {
    throw pathRefusals.error('path-authority', {
      field,
      expected: 'basicConstraints with cA and keyUsage with keyCertSign',
      found: certificate.isAuthority ? 'no keyCertSign' : 'a certificate that is no authority',
    });
  }
  checkPathLength(certificate, authoritiesBelow, field);
}

function checkPathLength(certificate: Certificate, authoritiesBelow: number, field: string): void {
  if (certificate.pathLength === undefined || authoritiesBelow <= certificate.pathLength) return;
  throw pathRefusals.error('path-length', {
    field,
    expected: `at most ${certificate.pathLength} authorities below`,
    found: String(authoritiesBelow),
  });
}

async function checkSignature(
  subject: Certificate,
  issuer: Certificate,
  field: string,
  memory: CertificateMemory | undefined,
): Promise<void> {
  if (await isSignedBy(subject, issuer, field, memory)) return;
  throw pathRefusals.error('path-signature', {
    field,
    expected: `a signature by the key with SHA-256 ${toHex(keyDigest(issuer))}`,
    found: 'one that does not verify',
  });
}

/** Whether the key of one certificate signed another. @throws RefusalError `public-key-*`, `signature-*`, `der-*` */
export function isSignedBy(
  subject: Certificate,
  issuer: Certificate,
  field: string,
  memory?: CertificateMemory,
): Promise<boolean> {
  const verify = (): Promise<boolean> => verifyCertificateSignature(subject, issuer, field);
  return memory === undefined ? verify() : memory.holds(subject, issuer, verify);
}

/** Reads a certificate, or recalls what was read before. @throws RefusalError `der-*`, `certificate-*` */
export function recallCertificate(
  bytes: Uint8Array,
  path: string,
  memory: CertificateMemory | undefined,
): Certificate {
  return remembered(memory, 'certificate', bytes, (copy) => readCertificate(copy, path));
}

async function verifyCertificateSignature(
  subject: Certificate,
  issuer: Certificate,
  field: string,
): Promise<boolean> {
  const key = readSubjectPublicKeyInfo(issuer.subjectPublicKeyInfo, `${field}.issuer.publicKey`);
  const { signatureScheme: scheme } = subject;
  const signature =
    key.type === 'ec' && scheme.algorithm === 'ecdsa'
      ? readEcdsaSignature(subject.signature, key.curve, `${field}.signature`)
      : subject.signature;
  return verifySignature(key, scheme, signature, subject.tbsCertificate);
}
