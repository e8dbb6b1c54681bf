/**
 * The chain of the key that signs manifests: a signer of about two years below two authorities and NVIDIA's root for reference
 * values. It has nothing in common with the chain of a device but the vendor.
 */

import { equalBytes } from '../../core/bytes.ts';
import type { CertificateMemory } from '../../core/certificate-memory.ts';
import { isSignedBy, recallCertificate, verifyCertificatePath } from '../../core/certificate-path.ts';
import type { TrustAnchor } from '../../core/certificate-path.ts';
import { NameAttribute, nameAttributes } from '../../core/distinguished-name.ts';
import { readSubjectPublicKeyInfo } from '../../core/public-key.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import { KeyUsage } from '../../core/x509.ts';
import type { Certificate } from '../../core/x509.ts';
import { CHAIN_LENGTH } from './signature.ts';

export const rimChainChecks = defineChecks('inauthentic', {
  'rim-debug-root': {
    means: 'A manifest is signed below NVIDIA’s root for debugging.',
    hint: 'Fetch the released manifest; one of the debug root never leaves NVIDIA.',
    protects: 'Values of firmware that can be debugged could pass as released ones.',
  },
  'rim-path': {
    means: 'The signer of a manifest does not lead to an accepted root for reference values.',
    hint: 'Fetch the manifest from NVIDIA; the operator has to accept the root, and a root for devices does not do.',
    protects: 'Anybody could make a hierarchy with NVIDIA’s names and sign any reference values.',
  },
  'rim-root': {
    means: 'The root in a manifest is not an authority signed by its own key.',
    hint: 'Fetch the manifest again.',
    protects: 'Name and validity of an accepted key could be invented.',
  },
  'rim-root-validity': {
    means: 'The certificate of the root of a manifest is not valid at the time of verification.',
    hint: 'Check the clock of the verifier.',
    protects: 'A root could be used beyond the time for which NVIDIA vouches.',
  },
  'rim-chain-algorithms': {
    means: 'A key or signature in the chain of a manifest is not of the algorithm that NVIDIA uses.',
    hint: 'All keys are on P-384 and all signatures are ECDSA with SHA-384.',
    protects: 'A weaker algorithm could be put in the place of NVIDIA’s.',
  },
  'rim-signer-usage': {
    means: 'The first certificate of a manifest is not that of a key that signs documents and nothing else.',
    hint: 'Fetch the manifest again.',
    protects: 'The key of an authority, or one for other uses, could sign reference values.',
  },
});

export interface RimChainInputs {
  readonly anchors: readonly TrustAnchor[];
  /** POSIX seconds. */
  readonly time: number;
  /** Makes it faster and decides nothing. */
  readonly memory?: CertificateMemory | undefined;
}

/** A chain whose signatures, times and constraints hold. */
export interface AuthenticRimChain {
  /** Signer, two authorities, root. */
  readonly certificates: readonly Certificate[];
  readonly signer: Certificate;
  readonly anchor: TrustAnchor;
}

const DEBUG_ROOT = 'NVIDIA CoRIM L1 Root CA Debug Only';

/**
 * Verifies the chain that came with a manifest.
 *
 * @param encoded DER, signer to root, as readRim counted them
 * @throws RefusalError `rim-*`, `path-*`, and what reading certificates throws
 */
export async function verifyRimChain(
  encoded: readonly Uint8Array[],
  inputs: RimChainInputs,
  checks: Checklist,
): Promise<AuthenticRimChain> {
  const certificates = encoded.map((der, i) =>
    recallCertificate(der, `rim.certificates[${i}]`, inputs.memory),
  );
  const signer = certificates.at(0);
  const root = certificates.at(CHAIN_LENGTH - 1);
  if (signer === undefined || root === undefined) throw new TypeError('readRim counts the certificates');
  demandNoDebugRoot(root, checks);
  const anchor = await climb(signer, encoded.slice(1), inputs, checks);
  await demandRoot(root, inputs, checks);
  demandProfile(certificates, signer, checks);
  return { certificates, signer, anchor };
}

/** Its key is not pinned here, so that it is recognised by its name; a chain that hides the name does not reach the root. */
function demandNoDebugRoot(root: Certificate, checks: Checklist): void {
  const name = nameAttributes(root.subject, 'rim.root').get(NameAttribute.commonName);
  checks.demand(rimChainChecks, 'rim-debug-root', name !== DEBUG_ROOT, {
    field: 'rim.root',
    expected: 'a root for released values',
    found: name ?? 'no name',
  });
}

function climb(
  signer: Certificate,
  intermediates: readonly Uint8Array[],
  { anchors, time, memory }: RimChainInputs,
  checks: Checklist,
): Promise<TrustAnchor> {
  const rules = {
    ...{ intermediates, anchors, time, memory },
    purpose: 'reference-values',
    validity: 'enforce',
    understoodLeafExtensions: [],
  } as const;
  const facts = { field: 'rim.signer', expected: 'a path to an accepted root for reference values' };
  return checks.attempt(rimChainChecks, 'rim-path', facts, () => verifyCertificatePath(signer, rules));
}

/** The pin covers the key; name, times and uses are as good as the root's own signature. */
async function demandRoot(
  root: Certificate,
  { time, memory }: RimChainInputs,
  checks: Checklist,
): Promise<void> {
  const isSelfSigned =
    equalBytes(root.subject, root.issuer) && (await isSignedBy(root, root, 'rim.root', memory));
  const mayIssue = root.isAuthority && root.keyUsage?.has(KeyUsage.keyCertSign) === true;
  checks.demand(rimChainChecks, 'rim-root', isSelfSigned && mayIssue, {
    field: 'rim.root',
    expected: 'an authority, signed by its own key',
    found: isSelfSigned ? `one that may ${mayIssue ? '' : 'not '}issue` : 'one of another signature',
  });
  checks.demand(rimChainChecks, 'rim-root-validity', time >= root.notBefore && time <= root.notAfter, {
    field: 'rim.root',
    expected: `a time from ${root.notBefore} to ${root.notAfter}`,
    found: String(time),
  });
}

function demandProfile(certificates: readonly Certificate[], signer: Certificate, checks: Checklist): void {
  const algorithms = certificates.map(algorithmsOf);
  checks.demand(
    rimChainChecks,
    'rim-chain-algorithms',
    algorithms.every((found) => found === P384),
    {
      field: 'rim.certificates',
      expected: `${P384} throughout`,
      found: algorithms.join(', '),
    },
  );
  const { isAuthority, keyUsage } = signer;
  const signsOnly = keyUsage?.has(KeyUsage.digitalSignature) === true && !keyUsage.has(KeyUsage.keyCertSign);
  checks.demand(rimChainChecks, 'rim-signer-usage', signsOnly && !isAuthority, {
    field: 'rim.signer',
    expected: 'digitalSignature, no authority',
    found: `${isAuthority ? 'an authority' : 'no authority'}, uses ${[...(keyUsage ?? [])].join(' ') || 'not stated'}`,
  });
}

const P384 = 'P-384 signed with ecdsa SHA-384';

function algorithmsOf({ subjectPublicKeyInfo, signatureScheme }: Certificate): string {
  const key = readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'rim.certificates.publicKey');
  const name = key.type === 'ec' ? key.curve : 'RSA';
  return `${name} signed with ${signatureScheme.algorithm} ${signatureScheme.hash}`;
}
