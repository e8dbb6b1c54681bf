/** Collateral for NVIDIA's devices on the command line: what to ask for, and what a file holds. */

import { basename, dirname, join } from 'node:path';

import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import { readRim } from '../../attestation/nvidia-gpu/rim/document.ts';
import type { ReportKind } from '../../attestation/nvidia-gpu/spdm.ts';
import { nvidiaAnchors } from '../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import { fromHex } from '../../attestation/core/bytes.ts';
import { splitCertificates } from '../platform/collateral/certificates.ts';
import { answersAbout, manifestsOf } from '../platform/collateral/nvidia-collateral.ts';
import { RIM_IDENTIFIER, type NvidiaItem } from '../platform/collateral/nvidia-items.ts';
import { MAX_COLLATERAL_BYTES, type CollateralSource } from '../platform/collateral/source.ts';
import { collateralImportRefusals } from './collateral-import.ts';
import { readInput, readSimulatedRoots } from './evidence-files.ts';
import { readNvidiaDevices } from './evidence-nvidia-devices.ts';

export interface NvidiaRoots {
  readonly simulatedRoot: readonly string[];
  readonly simulatedManifestRoot: readonly string[];
}

/** Where there is a simulated root, no real one is an anchor (CL-15). */
export async function readNvidiaAnchors(roots: NvidiaRoots): Promise<readonly TrustAnchor[]> {
  const devices = await readSimulatedRoots(roots.simulatedRoot);
  const manifests = await readSimulatedRoots(roots.simulatedManifestRoot);
  if (devices.length + manifests.length === 0) return nvidiaAnchors;
  return [...devices, ...manifests.map((anchor) => ({ ...anchor, purpose: 'reference-values' as const }))];
}

/** What somebody wants to have at hand. */
export interface NvidiaWishes {
  /** Files of evidence. */
  readonly nvidiaGpu: readonly string[];
  readonly nvswitch: readonly string[];
  /** Identifiers of manifests. */
  readonly rim: readonly string[];
  readonly nrasKeys?: true;
}

/**
 * Asks for everything, one after another: manifests, answers about their certificates and those of devices, keys.
 *
 * @param take asks the source for one thing, and refuses when nobody has it
 */
export async function takeAll(
  wishes: NvidiaWishes,
  take: (item: NvidiaItem) => Promise<Uint8Array>,
): Promise<void> {
  const devices = [
    ...(await readDevices(wishes.nvidiaGpu, 'gpu')),
    ...(await readDevices(wishes.nvswitch, 'switch')),
  ];
  const named = wishes.rim.map((identifier): NvidiaItem => ({ kind: 'rim', identifier }));
  const chains = devices.map(({ certificates }) => answersAbout(certificates).slice(1));
  for (const item of [...devices.flatMap(manifestsOf), ...named]) {
    const manifest = await take(item);
    for (const answer of answersAbout(readRim(manifest).signature.certificates)) await take(answer);
  }
  for (const answer of chains.flat()) await take(answer);
  if (wishes.nrasKeys === true) await take({ kind: 'nras-keys' });
}

/** A source that asks for each thing once, however many want it. */
export function onceEach(source: CollateralSource<NvidiaItem>, nameOf: (item: NvidiaItem) => string) {
  const taken = new Map<string, Promise<Uint8Array | undefined>>();
  return (item: NvidiaItem): Promise<Uint8Array | undefined> => {
    const answer = taken.get(nameOf(item)) ?? source.find(item);
    taken.set(nameOf(item), answer);
    return answer;
  };
}

async function readDevices(paths: readonly string[], kind: ReportKind) {
  const files = await Promise.all(paths.map((path) => readNvidiaDevices(path, kind, [])));
  return files.flat().map(({ path, report, certificates, kind: found }) => ({
    report: readDeviceReport(report, found, `${path}.report`),
    certificates,
  }));
}

export interface NvidiaImportable {
  readonly item: NvidiaItem;
  readonly bytes: Uint8Array;
}

/** What a file is called in a folder of collateral. */
const ANSWER = /^([0-9a-f]{64})\.der$/;
const ANSWER_CHAIN = /^([0-9a-f]{64})-chain\.pem$/;
const SUPERSEDED = /^(NV_[A-Z0-9._]{1,120})-([0-9a-f]{64})\.xml$/;

/**
 * What a file holds, told from its name: an identifier stands in no manifest, and no certificate in an answer about it.
 * Undefined for a file that is not NVIDIA's.
 *
 * @throws RefusalError `collateral-unknown`, `file-*`, `pem-malformed`
 */
export async function readNvidiaImportable(path: string): Promise<NvidiaImportable | undefined> {
  const name = basename(path);
  if (name.endsWith('.xml')) return await readManifestFile(path, name);
  if (name === 'nras-keys.json') return { item: { kind: 'nras-keys' }, bytes: await read(path, 'nras-keys') };
  const chain = ANSWER_CHAIN.exec(name)?.[1];
  if (chain !== undefined) {
    const item = { kind: 'issuer-chain', certificateDigest: fromHex(chain, path) } as const;
    return { item, bytes: await read(path, 'issuer-chain') };
  }
  const answer = ANSWER.exec(name)?.[1];
  if (answer === undefined) return undefined;
  const beside = join(dirname(path), `${answer}-chain.pem`);
  const certificates = splitCertificates(await read(beside, 'issuer-chain'), beside);
  return { item: { kind: 'ocsp', chain: certificates }, bytes: await read(path, 'ocsp') };
}

async function readManifestFile(path: string, name: string): Promise<NvidiaImportable> {
  const bytes = await read(path, 'rim');
  const [, earlier, digest] = SUPERSEDED.exec(name) ?? [];
  if (earlier !== undefined && digest !== undefined) {
    return {
      item: { kind: 'superseded-rim', identifier: earlier, fileDigest: fromHex(digest, path) },
      bytes,
    };
  }
  const identifier = name.slice(0, -'.xml'.length);
  if (RIM_IDENTIFIER.test(identifier)) return { item: { kind: 'rim', identifier }, bytes };
  throw collateralImportRefusals.error('collateral-unknown', {
    field: path,
    expected: 'a manifest in a file that is called after its identifier',
    found: name,
  });
}

function read(path: string, kind: NvidiaItem['kind']): Promise<Uint8Array> {
  return readInput(path, MAX_COLLATERAL_BYTES[kind]);
}
