/**
 * The certificates between an endorsement certificate and its authority (docs/spec/tpm-identity.md, EK-11). They are found by
 * name among what a server keeps; whether they belong there is for the path rules to say.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { equalBytes } from '../core/bytes.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import { readCertificate } from '../core/x509.ts';
import type { Certificate } from '../core/x509.ts';
import { readStoredCertificate } from './stored-certificate.ts';

/** As long as a path may be. */
const MAX_INTERMEDIATES = 6;

/**
 * Goes up from a certificate over those that are kept, as far as an authority.
 *
 * @param received of the endorsement key, as {@link readStoredCertificate} takes it
 * @param kept DER, in any order
 * @returns DER, from the issuer upwards; shorter than it should be where something is missing
 * @throws RefusalError `der-*`, `layout-*`, `certificate-*`
 */
export function findMakerChain(
  received: Uint8Array,
  kept: readonly Uint8Array[],
  anchors: readonly TrustAnchor[],
): readonly Uint8Array[] {
  const { encoded } = readStoredCertificate(received, 'ekCertificate');
  const known = kept.map((bytes, i) => readCertificate(bytes, `intermediates[${i}]`));
  const chain: Certificate[] = [];
  let current = readCertificate(encoded, 'ekCertificate');
  while (chain.length < MAX_INTERMEDIATES && !hasAnchorAbove(current, anchors)) {
    const { issuer } = current;
    const next = known.find(({ subject }) => equalBytes(subject, issuer));
    if (next === undefined || chain.includes(next)) break;
    chain.push(next);
    if (isPinned(next, anchors)) break;
    current = next;
  }
  return chain.map((certificate) => certificate.encoded);
}

/** An anchor with a certificate of its own ends the chain without standing in it. */
function hasAnchorAbove({ issuer }: Certificate, anchors: readonly TrustAnchor[]): boolean {
  return anchors.some(
    (anchor) =>
      'certificate' in anchor &&
      equalBytes(readCertificate(anchor.certificate, `anchor ${anchor.name}`).subject, issuer),
  );
}

/** One that is pinned by its key ends the chain and stands in it. */
function isPinned({ subjectPublicKeyInfo }: Certificate, anchors: readonly TrustAnchor[]): boolean {
  const digest = sha256(subjectPublicKeyInfo);
  return anchors.some((anchor) => 'publicKeyDigest' in anchor && equalBytes(anchor.publicKeyDigest, digest));
}
