/** Manifests and OCSP answers in files, under the names by which the verifier looks them up. Their own content places them. */

import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import type { Certificate } from '../../attestation/core/x509.ts';
import { neededManifests } from '../../attestation/nvidia-gpu/appraise.ts';
import { CHIP_FAMILIES } from '../../attestation/nvidia-gpu/chips.ts';
import { readLeaf } from '../../attestation/nvidia-gpu/device-certificates.ts';
import type { DeviceEvidence } from '../../attestation/nvidia-gpu/evidence.ts';
import { readOcspAnswer } from '../../attestation/nvidia-gpu/ocsp/answer.ts';
import { issuedCertificates, ocspCollateralName } from '../../attestation/nvidia-gpu/ocsp/appraise.ts';
import { certificateIdOf, equalCertificateIds } from '../../attestation/nvidia-gpu/ocsp/certificate-id.ts';
import type { RimRole } from '../../attestation/nvidia-gpu/rim/compare.ts';
import { readRim, type ClaimedRim } from '../../attestation/nvidia-gpu/rim/document.ts';
import { readInput } from './evidence-files.ts';

export const nvidiaCollateralRefusals = defineRefusals('malformed', {
  'evidence-manifest': {
    means: 'A manifest is for none of the devices, or the second for the same firmware.',
    hint: 'Give one manifest each for the driver and the VBIOS of GPUs, and for the firmware of switches.',
  },
  'evidence-ocsp-answer': {
    means: 'An OCSP answer is about no certificate of the devices or manifests, or the second about one.',
    hint: 'Give one answer about each certificate of the chains but leaves of devices and roots.',
  },
});

export interface NvidiaFiles {
  readonly rim: readonly string[];
  readonly ocsp: readonly string[];
}

interface ManifestFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly claimed: ClaimedRim;
}

type Collateral = ReadonlyMap<string, Uint8Array>;

/**
 * Reads the files that belong to devices. Whether what they say is true is for the verifier.
 *
 * @throws RefusalError `evidence-manifest`, `evidence-ocsp-answer`, `file-*`, and what reading the files throws
 */
export async function readNvidiaCollateral(
  devices: readonly DeviceEvidence[],
  { rim, ocsp }: NvidiaFiles,
): Promise<Collateral> {
  const manifests = await Promise.all(rim.map(readManifestFile));
  const chains = [
    ...devices.map(({ certificates }) => certificates),
    ...manifests.map(({ claimed }) => claimed.signature.certificates),
  ];
  return new Map([...placeManifests(devices, manifests), ...(await placeAnswers(chains, ocsp))]);
}

async function readManifestFile(path: string): Promise<ManifestFile> {
  const bytes = await readInput(path);
  return { path, bytes, claimed: readRim(bytes) };
}

/** Drivers have decimal numbers, a VBIOS has five hexadecimal ones. */
const VBIOS_VERSION = /^[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}$/;

function roleOf({ claimed }: ManifestFile): RimRole {
  const { edition, colloquialVersion } = claimed.manifest;
  if (edition === 'SWITCH') return 'switch';
  return VBIOS_VERSION.test(colloquialVersion) ? 'vbios' : 'driver';
}

/**
 * A manifest is for the firmware of its version. The only one of its role stands for any version, so that the verifier
 * says which one it is not.
 */
function placeManifests(devices: readonly DeviceEvidence[], files: readonly ManifestFile[]): Collateral {
  const placed = new Map<string, ManifestFile>();
  for (const { role, name, version } of devices.flatMap(manifestsOf)) {
    const candidates = files.filter((file) => roleOf(file) === role);
    const ofVersion = candidates.filter(({ claimed }) => claimed.manifest.colloquialVersion === version);
    const [found] = ofVersion.length > 0 || candidates.length > 1 ? ofVersion : candidates;
    if (found !== undefined) placed.set(name, found);
  }
  const used = new Set(placed.values());
  const other = files.find((file) => !used.has(file));
  if (other === undefined) return new Map([...placed].map(([name, { bytes }]) => [name, bytes]));
  const { product, colloquialVersion } = other.claimed.manifest;
  throw nvidiaCollateralRefusals.error('evidence-manifest', {
    field: other.path,
    expected: 'one manifest for each firmware of the devices',
    found: `another for ${product} ${colloquialVersion}`,
  });
}

function manifestsOf({ report, certificates }: DeviceEvidence): ReturnType<typeof neededManifests> {
  const leaf = readLeaf(readCertificate(certificates[0] ?? new Uint8Array(), 'chain[0]'), 'chain[0]');
  const family = CHIP_FAMILIES.find(({ name }) => name === leaf.family);
  const stated = report.kind === 'gpu' ? report.fields.chipInfo : undefined;
  return neededManifests({ report, chip: stated ?? family?.unstatedChip ?? leaf.family });
}

/** @param chains leaf to root, DER */
async function placeAnswers(
  chains: readonly (readonly Uint8Array[])[],
  paths: readonly string[],
): Promise<Collateral> {
  const pairs = chains.flatMap((chain) =>
    issuedCertificates(chain.map((der, i) => readCertificate(der, `chain[${i}]`))),
  );
  const placed = new Map<string, Uint8Array>();
  for (const path of paths) {
    const bytes = await readInput(path);
    const answer = readOcspAnswer(bytes, path);
    const about = 'certificateId' in answer ? pairs.find(isAbout(answer.certificateId)) : undefined;
    const name = about && ocspCollateralName(about.certificate);
    if (name === undefined || placed.has(name)) {
      throw nvidiaCollateralRefusals.error('evidence-ocsp-answer', {
        field: path,
        expected: 'one answer about each certificate of the chains',
        found: name === undefined ? 'one about another certificate' : 'a second one',
      });
    }
    placed.set(name, bytes);
  }
  return placed;
}

function isAbout(id: Parameters<typeof equalCertificateIds>[0]) {
  return ({ certificate, issuer }: { certificate: Certificate; issuer: Certificate }): boolean =>
    equalCertificateIds(certificateIdOf(certificate, issuer), id);
}
