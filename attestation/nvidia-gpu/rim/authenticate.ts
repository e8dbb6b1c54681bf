/**
 * Authenticity of a manifest: that NVIDIA's signer signed exactly the bytes that its values were read from, and that the
 * signer's certificate is good.
 */

import { sha384 } from '@noble/hashes/sha2.js';

import { equalBytes, toHex } from '../../core/bytes.ts';
import { readSubjectPublicKeyInfo } from '../../core/public-key.ts';
import { RefusalError } from '../../core/refusal.ts';
import { verifySignature } from '../../core/signature.ts';
import type { Trusted } from '../../core/trusted.ts';
import { defineChecks, judge } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import type { Certificate } from '../../core/x509.ts';
import { issuedCertificates, judgeRevocation } from '../ocsp/appraise.ts';
import type { KnownStatus, RevocationInputs } from '../ocsp/appraise.ts';
import { verifyRimChain } from './chain.ts';
import type { RimChainInputs } from './chain.ts';
import type { ClaimedRim } from './document.ts';
import type { RimManifest } from './manifest.ts';

export const rimSignatureChecks = defineChecks('inauthentic', {
  'rim-digest': {
    means: 'The content of a manifest is not what its signature is about.',
    hint: 'The file was altered, be it by white space alone; fetch it again, byte for byte.',
    protects: 'Any reference value could be replaced.',
  },
  'rim-signature': {
    means: 'A manifest is not signed by the key of its first certificate.',
    hint: 'The file was altered, or its certificates are those of another; fetch it again.',
    protects: 'Anybody could write a manifest and put NVIDIA’s certificates beside it.',
  },
});

export interface RimInputs extends RimChainInputs {
  /** Answers about the certificates, and what the policy says where there is none or one is on hold. */
  readonly revocation: Omit<RevocationInputs, 'time' | 'memory'>;
}

/** A manifest that NVIDIA, or whoever an anchor names, has signed. */
export interface Rim {
  readonly manifest: RimManifest;
  /** SHA-384 of the canonical content: names the values, however the file was written or signed. 48 bytes. */
  readonly contentDigest: Uint8Array;
  /** From when on the signer's certificate is valid: the manifest is not older. POSIX seconds. */
  readonly signerNotBefore: number;
  /** Until when, POSIX seconds: the manifest is good for no longer. */
  readonly signerNotAfter: number;
  /** Signer, two authorities. */
  readonly revocation: readonly KnownStatus[];
  readonly anchor: string;
  /** Whether it is about simulated hardware: follows from the anchor alone (W9). */
  readonly simulated: boolean;
}

/**
 * Verifies a manifest.
 *
 * @throws RefusalError `rim-*`, `path-*`, `ocsp-*`, and what reading certificates throws
 */
export async function authenticateRim(claimed: ClaimedRim, inputs: RimInputs): Promise<Trusted<Rim>> {
  const verdict = await judge((checks) => verifyRim(claimed, inputs, checks));
  if (verdict.outcome === 'accepted') return verdict.claims;
  throw new RefusalError(verdict.family, verdict.refusals[0]);
}

async function verifyRim(claimed: ClaimedRim, inputs: RimInputs, checks: Checklist): Promise<Rim> {
  const { manifest, content, signature } = claimed;
  const contentDigest = sha384(content);
  checks.demand(rimSignatureChecks, 'rim-digest', equalBytes(contentDigest, signature.digest), {
    field: 'rim.Signature.SignedInfo.Reference.DigestValue',
    expected: toHex(contentDigest),
    found: toHex(signature.digest),
  });
  const { certificates, signer, anchor } = await verifyRimChain(signature.certificates, inputs, checks);
  const { time, memory, revocation } = inputs;
  const verify = (): Promise<boolean> => isSignedInfoOf(signer, signature);
  const holds = await (memory === undefined ? verify() : memory.holds(claimed, signer, verify));
  checks.demand(rimSignatureChecks, 'rim-signature', holds, {
    field: 'rim.Signature.SignatureValue',
    expected: 'a signature by the first certificate',
    found: holds ? 'one' : 'one that does not verify',
  });
  const issued = issuedCertificates(certificates);
  return {
    ...{ manifest, contentDigest },
    signerNotBefore: signer.notBefore,
    signerNotAfter: signer.notAfter,
    revocation: await judgeRevocation(issued, { ...revocation, time, memory }, checks),
    anchor: anchor.name,
    simulated: anchor.simulated,
  };
}

function isSignedInfoOf(
  signer: Certificate,
  { signedInfo, value }: ClaimedRim['signature'],
): Promise<boolean> {
  const key = readSubjectPublicKeyInfo(signer.subjectPublicKeyInfo, 'rim.signer.publicKey');
  return verifySignature(key, { algorithm: 'ecdsa', hash: 'SHA-384' }, value, signedInfo);
}
