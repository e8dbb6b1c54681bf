/**
 * NVIDIA's hierarchy of manifest keys in software: a root of its own, and for each family of chips a chain of two
 * authorities and a signer. It has no key in common with the hierarchy of devices.
 */

import {
  authority,
  AUTHORITY_USAGE,
  certify,
  keyUsage,
  noAuthority,
  SIGNATURE_USAGE,
  type CertificateRequest,
  type CertifiedKey,
  type NameAttributes,
} from './nvidia-certificates.ts';
import { signedManifest, type ManifestContents } from './nvidia-manifest.ts';

const DAY_SECONDS = 86_400;
const ROOT_DAYS = 30 * 365;
const AUTHORITY_DAYS = 10 * 365;
const SIGNER_DAYS = 2 * 365;
/** Room for verifiers whose clock is a little behind. */
const CLOCK_SKEW_SECONDS = 3600;

/** Products that have a chain of their own, by the name that stands in its certificates. */
const FAMILIES: Readonly<Record<string, string>> = {
  GH100: 'GH100',
  GB100: 'GB1XX',
  GB202: 'GB20X',
  LS10: 'LS10',
};

const ROOT_NAME: NameAttributes = [
  ['C', 'US'],
  ['O', 'NVIDIA'],
  ['CN', 'NVIDIA CoRIM signing Root CA'],
];
const SIGNER_NAME: NameAttributes = [
  ['C', 'US'],
  ['ST', 'CA'],
  ['L', 'Santa Clara'],
  ['O', 'NVIDIA Corporation'],
  ['CN', 'HCC RIM L4 Signer'],
];

/** Signer, the two authorities above it, root. */
export type ManifestChain = readonly [CertifiedKey, CertifiedKey, CertifiedKey, CertifiedKey];

export class SimulatedManifestIssuer {
  readonly root: CertifiedKey;
  private readonly chains: ReadonlyMap<string, ManifestChain>;

  private constructor(root: CertifiedKey, chains: ReadonlyMap<string, ManifestChain>) {
    this.root = root;
    this.chains = chains;
  }

  /** Makes a hierarchy with keys of its own. @param posixSeconds the present */
  static async create(posixSeconds: number): Promise<SimulatedManifestIssuer> {
    const validity = (days: number): Pick<CertificateRequest, 'notBefore' | 'notAfter'> => ({
      notBefore: posixSeconds - CLOCK_SKEW_SECONDS,
      notAfter: posixSeconds + days * DAY_SECONDS,
    });
    const issuing = (pathLength?: number): Pick<CertificateRequest, 'extensions'> => ({
      extensions: [authority(pathLength), keyUsage(AUTHORITY_USAGE)],
    });
    const root = await certify({ name: ROOT_NAME, ...validity(ROOT_DAYS), ...issuing() });
    const chains = new Map<string, ManifestChain>();
    for (const [product, family] of Object.entries(FAMILIES)) {
      const top = { name: authorityName(`${family} CA`), ...validity(AUTHORITY_DAYS), ...issuing() };
      const upper = await certify(top, root);
      const middle = { name: authorityName(`L3 ${family} 001`), ...validity(AUTHORITY_DAYS), ...issuing(0) };
      const lower = await certify(middle, upper);
      const extensions = [noAuthority(), keyUsage(SIGNATURE_USAGE)];
      const signer = await certify({ name: SIGNER_NAME, ...validity(SIGNER_DAYS), extensions }, lower);
      chains.set(product, [signer, lower, upper, root]);
    }
    return new SimulatedManifestIssuer(root, chains);
  }

  /** Every key that issues certificates. */
  get issuers(): readonly CertifiedKey[] {
    return [this.root, ...[...this.chains.values()].flatMap(([, lower, upper]) => [lower, upper])];
  }

  /** Signs a manifest. @throws Error for a product that has no chain */
  issue(contents: ManifestContents): Uint8Array {
    const chain = this.chainOf(contents.product);
    const certificates = chain.map(({ certificate }) => certificate);
    return signedManifest(contents, { key: chain[0].key, certificates });
  }

  /** The keys of which a product's manifests have the certificates. @throws Error for a product that has none */
  chainOf(product: string): ManifestChain {
    const chain = this.chains.get(product);
    if (chain === undefined) throw new Error(`no manifests are made for ${product}`);
    return chain;
  }
}

function authorityName(role: string): NameAttributes {
  return [
    ['CN', `NVIDIA Reference Value ${role}`],
    ['O', 'NVIDIA Corporation'],
    ['C', 'US'],
  ];
}
