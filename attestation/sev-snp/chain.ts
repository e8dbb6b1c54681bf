/**
 * The chain of the key that signs reports (AMD 57230, chapter 2): VCEK below ASK, VLEK below ASVK, both below the ARK of
 * the product line. Anchors decide which ARK: a name proves nothing.
 */

import { equalBytes, toHex } from '../core/bytes.ts';
import { oncePer, remembered } from '../core/certificate-memory.ts';
import type { CertificateMemory } from '../core/certificate-memory.ts';
import { isSignedBy, recallCertificate, verifyCertificatePath } from '../core/certificate-path.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import { NameAttribute, nameAttributes } from '../core/distinguished-name.ts';
import { readSubjectPublicKeyInfo } from '../core/public-key.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import { KeyUsage } from '../core/x509.ts';
import type { Certificate } from '../core/x509.ts';
import { certificateDer } from './certificate-table.ts';
import type { SevSnpCertificates } from './evidence.ts';
import { readKeyCertificate } from './key-certificate.ts';
import type { KeyFacts, KeyKind } from './key-certificate.ts';
import type { AttestationReport } from './layout.ts';
import type { ProductLine } from './product.ts';

export const chainChecks = defineChecks('inauthentic', {
  'snp-certificate-missing': {
    means: 'A certificate of the chain came neither with the evidence nor with the collateral.',
    hint: 'Send the VCEK or VLEK with its ASK or ASVK and the ARK; AMD’s key server and the provider give them.',
    protects: 'A report could not be traced to a chip of AMD.',
  },
  'snp-certificate-kind': {
    means: 'The certificate is not that of the kind of key that the report names.',
    hint: 'A report signed by a VCEK needs the VCEK certificate, one signed by a VLEK the VLEK certificate.',
    protects: 'The key of a fleet could pass for that of a chip.',
  },
  'snp-product-mismatch': {
    means: 'The processor in the report and the certificates are of different product lines.',
    hint: 'Send the certificates of the chip that made the report.',
    protects: 'The rules and minimum levels of one product could be applied to another.',
  },
  'snp-path': {
    means: 'The certificate does not lead to an accepted root of AMD.',
    hint: 'Send ASK or ASVK and ARK of the same product line; the operator has to accept the root.',
    protects: 'Anybody could make a hierarchy with AMD’s names and sign any report.',
  },
  'snp-chain-names': {
    means: 'The certificates of the chain are not those of AMD’s hierarchy for this key and product line.',
    hint: 'A VCEK stands below SEV-(line), a VLEK below SEV-VLEK-(line), both below ARK-(line).',
    protects: 'An authority for one kind of key or product could vouch for another.',
  },
  'snp-chain-algorithms': {
    means: 'A key or signature of the chain is not of the algorithm that AMD uses.',
    hint: 'Authorities have RSA-4096 keys and sign with RSASSA-PSS and SHA-384; the key of the chip is on P-384.',
    protects: 'A weaker algorithm could be put in the place of AMD’s.',
  },
  'snp-chain-authorities': {
    means: 'A certificate of the chain does not have the constraints of its place.',
    hint: 'ARK and ASK or ASVK are authorities, the latter with path length 0; the key of a chip is none.',
    protects: 'A key that signs reports could issue certificates.',
  },
  'snp-root-signature': {
    means: 'The certificate of the root is not signed by its own key.',
    hint: 'Take the ARK certificate from AMD’s key server.',
    protects: 'Name and validity of an accepted key could be invented.',
  },
  'snp-root-validity': {
    means: 'The certificate of the root is not valid at the time of verification.',
    hint: 'Check the clock of the verifier.',
    protects: 'A root could be used beyond the time for which AMD vouches.',
  },
});

export interface ChainInputs {
  readonly certificates: SevSnpCertificates;
  readonly anchors: readonly TrustAnchor[];
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  /** POSIX seconds. */
  readonly time: number;
  /** Makes it faster and decides nothing. */
  readonly memory?: CertificateMemory | undefined;
}

/** A chain whose signatures, times and constraints hold. */
export interface AuthenticChain {
  readonly key: KeyFacts;
  readonly intermediate: Certificate;
  readonly ark: Certificate;
  readonly anchor: TrustAnchor;
}

/** Names of collateral: what the verifier's side may add to the evidence. */
export const collateralNames = {
  /** DER or PEM. The certificate follows from the chip and the TCB alone (AMD 57230, chapter 4). */
  vcek: ({ chipId, reportedTcb }: AttestationReport): string => `vcek/${toHex(chipId)}/${toHex(reportedTcb)}`,
  intermediate: (line: ProductLine, kind: KeyKind): string => `${kind === 'vcek' ? 'ask' : 'asvk'}/${line}`,
  ark: (line: ProductLine): string => `ark/${line}`,
  /** DER. */
  revocationList: (line: ProductLine): string => `crl/${line}`,
} as const;

/**
 * Verifies the chain of the key that signed.
 *
 * @param kind of the key that the report names
 * @param line of the processor that the report names; undefined when it names none (version 2)
 * @throws RefusalError `snp-*`, `path-*`, and what reading certificates throws
 */
export async function verifyChain(
  kind: KeyKind,
  line: ProductLine | undefined,
  report: AttestationReport,
  inputs: ChainInputs,
  checks: Checklist,
): Promise<AuthenticChain> {
  const { certificates, collateral, memory } = inputs;
  const found =
    certificates[kind] ?? (kind === 'vcek' ? collateral.get(collateralNames.vcek(report)) : undefined);
  const der = demandCertificate(kind, found, checks);
  const key = remembered(memory, 'key-certificate', der, (bytes) => readKeyCertificate(bytes, kind));
  demandKind(key, kind, line, checks);
  const given = {
    intermediate: demandCertificate(
      'intermediate',
      certificates.intermediate ?? collateral.get(collateralNames.intermediate(key.line, kind)),
      checks,
    ),
    ark: optionalCertificate('ark', certificates.ark ?? collateral.get(collateralNames.ark(key.line))),
  };
  const anchor = await climb(key, given, inputs, checks);
  const ark = recallCertificate(given.ark ?? arkOf(anchor, checks), 'ark', memory);
  const intermediate = recallCertificate(given.intermediate, 'intermediate', memory);
  const chain = { key, intermediate, ark, anchor };
  demandProfile(chain, checks);
  await demandRoot(ark, inputs, checks);
  return chain;
}

function optionalCertificate(name: string, found: Uint8Array | undefined): Uint8Array | undefined {
  return found && certificateDer(found, name);
}

function demandCertificate(name: string, found: Uint8Array | undefined, checks: Checklist): Uint8Array {
  checks.demand(chainChecks, 'snp-certificate-missing', found !== undefined, {
    field: name,
    expected: 'a certificate',
    found: found === undefined ? 'none' : 'one',
  });
  return certificateDer(found, name);
}

function demandKind(key: KeyFacts, kind: KeyKind, line: ProductLine | undefined, checks: Checklist): void {
  checks.demand(chainChecks, 'snp-certificate-kind', key.kind === kind, {
    field: 'certificate.subject',
    expected: kind,
    found: key.kind,
  });
  const isOfEncoding = (key.encoding === 'turin') === (key.line === 'Turin');
  checks.demand(chainChecks, 'snp-product-mismatch', isOfEncoding && key.line === (line ?? key.line), {
    field: 'certificate.productName',
    expected: `${line ?? key.line} in all places`,
    found: `${key.productName} with TCB levels of ${key.encoding}`,
  });
}

function climb(
  key: KeyFacts,
  given: { readonly intermediate: Uint8Array; readonly ark: Uint8Array | undefined },
  { anchors, time, memory }: ChainInputs,
  checks: Checklist,
): Promise<TrustAnchor> {
  const intermediates = [given.intermediate, ...(given.ark === undefined ? [] : [given.ark])];
  const rules = {
    ...{ intermediates, anchors, time, memory },
    validity: 'enforce',
    understoodLeafExtensions: [],
  } as const;
  return checks.attempt(
    chainChecks,
    'snp-path',
    { field: 'certificate', expected: 'a path to an accepted root' },
    () => verifyCertificatePath(key.certificate, rules),
  );
}

/** Without the root's certificate a path ends at one that the operator gave, or at a pinned key below the root. */
function arkOf(anchor: TrustAnchor, checks: Checklist): Uint8Array {
  if ('certificate' in anchor) return anchor.certificate;
  return demandCertificate('ark', undefined, checks);
}

function demandProfile({ key, intermediate, ark }: AuthenticChain, checks: Checklist): void {
  const found = [key.certificate, intermediate, ark].map(profileOf);
  const names = found.slice(1).map(({ name }) => name);
  const issuer = key.kind === 'vcek' ? `SEV-${key.line}` : `SEV-VLEK-${key.line}`;
  checks.demand(chainChecks, 'snp-chain-names', names[0] === issuer && names[1] === `ARK-${key.line}`, {
    field: 'chain',
    expected: `${issuer}, ARK-${key.line}`,
    found: names.join(', '),
  });
  const algorithms = found.map((profile) => profile.algorithms);
  const expected = [P384_BY_PSS, RSA_BY_PSS, RSA_BY_PSS];
  checks.demand(chainChecks, 'snp-chain-algorithms', algorithms.join() === expected.join(), {
    field: 'chain',
    expected: expected.join(', '),
    found: algorithms.join(', '),
  });
  const isInPlace = !key.certificate.isAuthority && intermediate.pathLength === 0 && maySign(ark);
  checks.demand(chainChecks, 'snp-chain-authorities', isInPlace, {
    field: 'chain',
    expected: 'an ARK that signs certificates and lists, path length 0 below it',
    found: `path length ${intermediate.pathLength ?? 'not limited'}, usage ${[...(ark.keyUsage ?? [])].join(' ')}`,
  });
}

/** What a certificate says of itself in the words of AMD's hierarchy. */
interface Profile {
  readonly name: string;
  readonly algorithms: string;
}

const profileOf = oncePer((certificate: Certificate): Profile => {
  return { name: commonName(certificate.subject), algorithms: algorithmsOf(certificate) };
});

function commonName(name: Uint8Array): string {
  return nameAttributes(name, 'chain').get(NameAttribute.commonName) ?? 'no common name';
}

const RSA_BY_PSS = 'RSA-4096 signed with rsa-pss SHA-384';
const P384_BY_PSS = 'P-384 signed with rsa-pss SHA-384';

function algorithmsOf({ subjectPublicKeyInfo, signatureScheme }: Certificate): string {
  const key = readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'chain.publicKey');
  const name = key.type === 'rsa' ? `RSA-${8 * key.modulus.length}` : key.curve;
  return `${name} signed with ${signatureScheme.algorithm} ${signatureScheme.hash}`;
}

function maySign({ isAuthority, keyUsage }: Certificate): boolean {
  return isAuthority && keyUsage?.has(KeyUsage.keyCertSign) === true && keyUsage.has(KeyUsage.cRLSign);
}

/** What the pin does not cover, name and times, is as good as the root's own signature. */
async function demandRoot(ark: Certificate, { time, memory }: ChainInputs, checks: Checklist): Promise<void> {
  const isSelfSigned = equalBytes(ark.subject, ark.issuer) && (await isSignedBy(ark, ark, 'ark', memory));
  checks.demand(chainChecks, 'snp-root-signature', isSelfSigned, {
    field: 'ark',
    expected: 'a signature by its own key',
    found: isSelfSigned ? 'one' : 'another',
  });
  checks.demand(chainChecks, 'snp-root-validity', time >= ark.notBefore && time <= ark.notAfter, {
    field: 'ark',
    expected: `a time from ${ark.notBefore} to ${ark.notAfter}`,
    found: String(time),
  });
}
