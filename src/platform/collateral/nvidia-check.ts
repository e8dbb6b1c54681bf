/**
 * Whether collateral for NVIDIA's devices is what was asked for and leads to an accepted authority (docs/spec/collateral.md,
 * section 3). A verification makes all of these checks again, and more: this keeps forgeries and mix-ups out of a store.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { equalBytes, toHex } from '../../../attestation/core/bytes.ts';
import { verifyCertificatePath, type TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { readCertificate, type Certificate } from '../../../attestation/core/x509.ts';
import { readKeySet, verifyKeySet } from '../../../attestation/nvidia-gpu/nras/key-set.ts';
import { readOcspAnswer } from '../../../attestation/nvidia-gpu/ocsp/answer.ts';
import { verifyOcspAnswer } from '../../../attestation/nvidia-gpu/ocsp/verify.ts';
import { authenticateRim } from '../../../attestation/nvidia-gpu/rim/authenticate.ts';
import { readRim, type ClaimedRim } from '../../../attestation/nvidia-gpu/rim/document.ts';
import { joinCertificates, splitCertificates } from './certificates.ts';
import { keptCollateralRefusals, type CollateralCheck } from './kept-collateral.ts';
import {
  certificateDigestOf,
  issuerChainOf,
  type IssuerChainItem,
  type NvidiaItem,
  type OcspItem,
  type RimItem,
  type SupersededRimItem,
} from './nvidia-items.ts';
import { collateralCheckRefusals } from './sev-snp-check.ts';

const HOUR_SECONDS = 3600;

/** NVIDIA's answers are good for a day; keys of its service are changed every other day; manifests are issued anew at times. */
const REFRESH_SECONDS: Readonly<Record<NvidiaItem['kind'], number | undefined>> = {
  rim: 24 * HOUR_SECONDS,
  'superseded-rim': undefined,
  ocsp: 6 * HOUR_SECONDS,
  'issuer-chain': undefined,
  'nras-keys': HOUR_SECONDS,
};

/** How old an answer may be to be kept; how old one may be to be used is for the policy to say. */
const MAX_ANSWER_AGE_SECONDS = 7 * 24 * HOUR_SECONDS;

/** The check of a store whose operator accepts these authorities, each for its own purpose. */
export function nvidiaCollateralCheck(anchors: readonly TrustAnchor[]): CollateralCheck<NvidiaItem> {
  return {
    verify: async (item, bytes, { time }) => {
      const rules = { anchors, time };
      if (item.kind === 'rim' || item.kind === 'superseded-rim') await checkManifest(item, bytes, rules);
      else if (item.kind === 'ocsp') await checkAnswer(item, bytes, rules);
      else if (item.kind === 'issuer-chain') await checkIssuerChain(item, bytes, rules);
      else await verifyKeySet(readKeySet(bytes, item.kind), rules, item.kind);
    },
    refreshSeconds: ({ kind }) => REFRESH_SECONDS[kind],
    demandNotOlder: ({ kind }, offered, kept) => {
      if (kind === 'rim') demandNotOlder('rim.signer.notBefore', issuedAt(offered), tryTo(issuedAt, kept));
      if (kind === 'ocsp') demandNotOlder('ocsp.thisUpdate', updatedAt(offered), tryTo(updatedAt, kept));
    },
    beside,
  };
}

/** An answer is stored with the chain by which it is checked; an issue of a manifest that is replaced stays to be seen. */
function beside(
  item: NvidiaItem,
  replaced: Uint8Array | undefined,
): readonly (readonly [NvidiaItem, Uint8Array])[] {
  if (item.kind === 'ocsp') return [[issuerChainOf(item), joinCertificates(item.chain)]];
  if (item.kind !== 'rim' || replaced === undefined) return [];
  const { identifier } = item;
  return [[{ kind: 'superseded-rim', identifier, fileDigest: sha256(replaced) }, replaced]];
}

interface Rules {
  readonly anchors: readonly TrustAnchor[];
  /** POSIX seconds. */
  readonly time: number;
}

function other(field: string, expected: string, found: string): Error {
  return collateralCheckRefusals.error('collateral-other', { field, expected, found });
}

/** Revocation is not judged here: a manifest has to be in the store before anybody can ask about its certificates. */
async function checkManifest(
  { identifier }: RimItem | SupersededRimItem,
  bytes: Uint8Array,
  rules: Rules,
): Promise<void> {
  const claimed = readRim(bytes);
  const revocation = { collateral: new Map(), maxAgeSeconds: 0, missing: 'accept', hold: 'accept' } as const;
  const { manifest } = await authenticateRim(claimed, { ...rules, revocation });
  if (canBeCalled(manifest, identifier)) return;
  const found = `the ${manifest.edition} manifest of ${manifest.product} ${manifest.colloquialVersion}`;
  throw other('rim', identifier, found);
}

/**
 * Whether a manifest can have an identifier. The identifier is not signed: version, chip and kind of device are, and all of
 * them have to fit. What names the board in the identifier of a VBIOS is in no manifest.
 */
function canBeCalled(manifest: ClaimedRim['manifest'], identifier: string): boolean {
  const version = manifest.colloquialVersion.toUpperCase();
  const digits = version.replaceAll('.', '');
  const isOfBoard = (prefix: string): boolean =>
    identifier.startsWith(`${prefix}_`) && identifier.endsWith(`_${digits}`);
  if (manifest.edition === 'SWITCH') return isOfBoard('NV_SWITCH_BIOS');
  const ofDriver = `DRIVER_${manifest.product.toUpperCase()}_${version}`;
  const drivers = [`NV_GPU_${ofDriver}`, `NV_GPU_CC_${ofDriver}`];
  return drivers.includes(identifier) || isOfBoard('NV_GPU_VBIOS');
}

async function checkAnswer(item: OcspItem, bytes: Uint8Array, rules: Rules): Promise<void> {
  const { certificate, issuer } = await authenticChain(item.chain, rules);
  const question = { certificate, issuer, time: rules.time, maxAgeSeconds: MAX_ANSWER_AGE_SECONDS };
  await verifyOcspAnswer(bytes, question);
}

async function checkIssuerChain(item: IssuerChainItem, bytes: Uint8Array, rules: Rules): Promise<void> {
  const chain = splitCertificates(bytes, 'chain');
  const digest = certificateDigestOf({ kind: 'ocsp', chain });
  if (!equalBytes(digest, item.certificateDigest)) {
    throw other('chain', `the certificate ${toHex(item.certificateDigest)}`, toHex(digest));
  }
  await authenticChain(chain, rules);
}

interface AuthenticPair {
  readonly certificate: Certificate;
  readonly issuer: Certificate;
}

/** A chain of devices or one of reference values: its root decides, and each root counts for its own purpose alone. */
async function authenticChain(
  chain: readonly Uint8Array[],
  { anchors, time }: Rules,
): Promise<AuthenticPair> {
  const [certificate, issuer] = chain.map((der, i) => readCertificate(der, `chain[${i}]`));
  if (certificate === undefined || issuer === undefined) {
    throw other('chain', 'a certificate and those above it', `${chain.length} certificates`);
  }
  const intermediates = chain.slice(1);
  const inputs = { intermediates, anchors, time, validity: 'enforce', understoodLeafExtensions: [] } as const;
  try {
    await verifyCertificatePath(certificate, { ...inputs, purpose: 'endorsements' });
  } catch (error) {
    if (!isRefusal(error) || error.refusal.code !== 'path-untrusted') throw error;
    await verifyCertificatePath(certificate, { ...inputs, purpose: 'reference-values' });
  }
  return { certificate, issuer };
}

/** A manifest says nothing of when it was made: only that it was after its signer was certified. POSIX seconds. */
function issuedAt(bytes: Uint8Array): number {
  const [signer = new Uint8Array()] = readRim(bytes).signature.certificates;
  return readCertificate(signer, 'rim.signer').notBefore;
}

/** POSIX seconds. */
function updatedAt(bytes: Uint8Array): number {
  const answer = readOcspAnswer(bytes, 'ocsp');
  return 'responseStatus' in answer ? 0 : answer.thisUpdate;
}

/** Undefined for a file that cannot be read any more: such a one may be replaced. */
function tryTo(read: (bytes: Uint8Array) => number, bytes: Uint8Array): number | undefined {
  try {
    return read(bytes);
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

/** A revocation, or a correction of reference values, cannot be taken back by handing out what was there before it. */
function demandNotOlder(field: string, offered: number, kept: number | undefined): void {
  if (kept === undefined || offered >= kept) return;
  throw keptCollateralRefusals.error('collateral-older', {
    field,
    expected: `at least ${kept}`,
    found: String(offered),
  });
}
