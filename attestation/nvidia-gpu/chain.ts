/**
 * The chain of the key that signs reports: leaf, boot ROM, provisioner, identity, root. GPUs, their security processors and
 * switches all stand below one root, so that a good chain is not enough: what the leaf is for is judged too.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { equalBytes, toHex } from '../core/bytes.ts';
import type { CertificateMemory } from '../core/certificate-memory.ts';
import {
  anchorDigest,
  isSignedBy,
  recallCertificate,
  verifyCertificatePath,
} from '../core/certificate-path.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import { readSubjectPublicKeyInfo } from '../core/public-key.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import { KeyUsage } from '../core/x509.ts';
import type { Certificate } from '../core/x509.ts';
import { CHIP_FAMILIES } from './chips.ts';
import type { ChipFamily } from './chips.ts';
import { readBootRom, readLeaf } from './device-certificates.ts';
import type { BootRomFacts, LeafFacts } from './device-certificates.ts';
import type { ReportKind } from './spdm.ts';

export const chainChecks = defineChecks('inauthentic', {
  'gpu-chain-length': {
    means: 'A chain does not have the five certificates of a device.',
    hint: 'Send the attestation certificate chain that NVML or NSCQ gives: leaf, boot ROM, provisioner, identity, root.',
    protects: 'A part of the chain could be left out, or a genuine one appended to an invented one.',
  },
  'gpu-path': {
    means: 'The chain of a device does not lead to an accepted root of devices.',
    hint: 'Send the five certificates in order; the operator has to accept the root, and a root for RIM files does not do.',
    protects: 'Anybody could make a hierarchy with NVIDIA’s names and sign any report.',
  },
  'gpu-root': {
    means: 'The last certificate of the chain is not the accepted root, signed by its own key.',
    hint: 'Send the chain up to and with the root.',
    protects: 'Name and validity of an accepted key could be invented.',
  },
  'gpu-root-validity': {
    means: 'The certificate of the root is not valid at the time of verification.',
    hint: 'Check the clock of the verifier.',
    protects: 'A root could be used beyond the time for which NVIDIA vouches.',
  },
  'gpu-chain-algorithms': {
    means: 'A key or signature of the chain is not of the algorithm that NVIDIA uses.',
    hint: 'All keys are on P-384 and all signatures are ECDSA with SHA-384.',
    protects: 'A weaker algorithm could be put in the place of NVIDIA’s.',
  },
  'gpu-leaf-usage': {
    means: 'The first certificate is not that of a key that signs and does nothing else.',
    hint: 'Send the leaf as the first certificate.',
    protects: 'The key of an authority could sign reports.',
  },
  'gpu-chip-unknown': {
    means: 'The device is of a chip whose rules this release does not know.',
    hint: 'A newer release may know it.',
    protects: 'The rules of another chip, which may be weaker, would be applied.',
  },
  'gpu-device-role': {
    means: 'The key is not the one that answers for this kind of device.',
    hint: 'Send the report of the GPU’s system processor (GSP) as that of a GPU, an NVSwitch’s as that of a switch.',
    protects: 'A security processor or a switch, genuine as it is, could pass for a GPU.',
  },
  'gpu-device-names': {
    means: 'Leaf and boot ROM are not named as those of one device.',
    hint: 'Send the chain that the device itself gives.',
    protects: 'The key of one part of a chip could stand under the identity of another.',
  },
});

/** The place of each certificate. */
const CHAIN_LENGTH = 5;
const ROOT = 4;

export interface ChainInputs {
  readonly anchors: readonly TrustAnchor[];
  /** POSIX seconds. */
  readonly time: number;
  /** Makes it faster and decides nothing. */
  readonly memory?: CertificateMemory | undefined;
}

/** A chain that leads to an anchor, of a device of known rules. */
export interface AuthenticChain {
  /** From the leaf to the root. */
  readonly certificates: readonly Certificate[];
  readonly leaf: LeafFacts;
  readonly bootRom: BootRomFacts;
  readonly family: ChipFamily;
  readonly anchor: TrustAnchor;
}

/**
 * Verifies a chain.
 *
 * @param encoded DER, from the leaf to the root
 * @param kind what the device is presented as
 * @throws RefusalError `gpu-*`, `path-*`, and what reading certificates throws
 */
export async function verifyDeviceChain(
  encoded: readonly Uint8Array[],
  kind: ReportKind,
  inputs: ChainInputs,
  checks: Checklist,
): Promise<AuthenticChain> {
  checks.demand(chainChecks, 'gpu-chain-length', encoded.length === CHAIN_LENGTH, {
    field: 'chain',
    expected: `${CHAIN_LENGTH} certificates`,
    found: String(encoded.length),
  });
  const certificates = encoded.map((bytes, i) => recallCertificate(bytes, `chain[${i}]`, inputs.memory));
  const [leafCertificate, bootRomCertificate] = certificates as [Certificate, Certificate];
  const anchor = await climb(leafCertificate, encoded.slice(1), inputs, checks);
  await demandRoot(certificates[ROOT] as Certificate, anchor, inputs, checks);
  demandAlgorithms(certificates, checks);
  demandLeafUsage(leafCertificate, checks);
  const leaf = readLeaf(leafCertificate, 'chain[0]');
  const bootRom = readBootRom(bootRomCertificate, 'chain[1]');
  const family = demandRole(leaf, kind, checks);
  demandSameDevice(leaf, bootRom, family, checks);
  return { certificates, leaf, bootRom, family, anchor };
}

function climb(
  leaf: Certificate,
  intermediates: readonly Uint8Array[],
  { anchors, time, memory }: ChainInputs,
  checks: Checklist,
): Promise<TrustAnchor> {
  const rules = {
    ...{ intermediates, anchors, time, memory },
    purpose: 'endorsements',
    validity: 'enforce',
    understoodLeafExtensions: [],
  } as const;
  const facts = { field: 'chain', expected: 'a path to an accepted root of devices' };
  return checks.attempt(chainChecks, 'gpu-path', facts, () => verifyCertificatePath(leaf, rules));
}

/** What the pin does not cover, name, times and uses, is as good as the root's own signature. */
async function demandRoot(
  root: Certificate,
  anchor: TrustAnchor,
  { time, memory }: ChainInputs,
  checks: Checklist,
): Promise<void> {
  const isAnchor = equalBytes(sha256(root.subjectPublicKeyInfo), anchorDigest(anchor));
  const isSelfSigned =
    equalBytes(root.subject, root.issuer) && (await isSignedBy(root, root, `chain[${ROOT}]`, memory));
  const mayIssue = root.isAuthority && root.keyUsage?.has(KeyUsage.keyCertSign) === true;
  checks.demand(chainChecks, 'gpu-root', isAnchor && isSelfSigned && mayIssue, {
    field: `chain[${ROOT}]`,
    expected: `the root ${anchor.name}, an authority signed by its own key`,
    found: isAnchor ? `one that is ${isSelfSigned ? '' : 'not '}signed so` : 'another certificate',
  });
  checks.demand(chainChecks, 'gpu-root-validity', time >= root.notBefore && time <= root.notAfter, {
    field: `chain[${ROOT}]`,
    expected: `a time from ${root.notBefore} to ${root.notAfter}`,
    found: String(time),
  });
}

const P384 = 'P-384 signed with ecdsa SHA-384';

function demandAlgorithms(certificates: readonly Certificate[], checks: Checklist): void {
  const algorithms = certificates.map(algorithmsOf);
  const isAlike = algorithms.every((found) => found === P384);
  checks.demand(chainChecks, 'gpu-chain-algorithms', isAlike, {
    field: 'chain',
    expected: `${P384} throughout`,
    found: isAlike ? 'that' : algorithms.join(', '),
  });
}

function algorithmsOf({ subjectPublicKeyInfo, signatureScheme }: Certificate): string {
  const key = readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'chain.publicKey');
  const name = key.type === 'ec' ? key.curve : 'RSA';
  return `${name} signed with ${signatureScheme.algorithm} ${signatureScheme.hash}`;
}

function demandLeafUsage({ isAuthority, keyUsage }: Certificate, checks: Checklist): void {
  const uses = [...(keyUsage ?? [])];
  const signsOnly = uses.length === 1 && uses[0] === KeyUsage.digitalSignature;
  checks.demand(chainChecks, 'gpu-leaf-usage', signsOnly && !isAuthority, {
    field: 'chain[0]',
    expected: 'digitalSignature alone, no authority',
    found: `${isAuthority ? 'an authority' : 'no authority'}, uses ${uses.join(' ') || 'not stated'}`,
  });
}

function demandRole(leaf: LeafFacts, kind: ReportKind, checks: Checklist): ChipFamily {
  const family = CHIP_FAMILIES.find(({ name }) => name === leaf.family);
  checks.demand(chainChecks, 'gpu-chip-unknown', family !== undefined, {
    field: 'chain[0].subject',
    expected: CHIP_FAMILIES.map(({ name }) => name).join(', '),
    found: leaf.family,
  });
  checks.demand(chainChecks, 'gpu-device-role', family.kind === kind && leaf.engine === family.engine, {
    field: 'chain[0].subject',
    expected: `the ${kind === 'gpu' ? 'GSP' : 'FSP'} of a ${kind}`,
    found: `the ${leaf.engine} of a ${family.kind}, ${leaf.family}`,
  });
  return family;
}

function demandSameDevice(
  leaf: LeafFacts,
  bootRom: BootRomFacts,
  { serialPrefix }: ChipFamily,
  checks: Checklist,
): void {
  const text = ({ family, stepping, engine }: Omit<LeafFacts, 'certificate' | 'serialNumber'>): string =>
    `${family} ${stepping} ${engine}`;
  const holds = text(leaf) === text(bootRom) && bootRom.serialPrefix === serialPrefix;
  checks.demand(chainChecks, 'gpu-device-names', holds, {
    field: 'chain[1].subject',
    expected: `${text(leaf)}, serial number ${toHex(Uint8Array.of(serialPrefix))}…`,
    found: `${text(bootRom)}, serial number ${toHex(Uint8Array.of(bootRom.serialPrefix))}…`,
  });
}
