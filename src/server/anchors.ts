/**
 * The authorities of hardware vendors that the operator accepts, in a folder for each device class: a PEM file with the
 * certificate, or a file with the digest of the key, whose certificate then comes with the evidence. Which folder an authority lies in decides what it is believed about and
 * whether it vouches for simulated hardware; only an evaluation server looks into the folders of those (W9).
 */

import { X509Certificate } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { excerpt, fromHex, fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import type { AnchorPurpose, TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import type { Mode } from '../governance/fields.ts';
import { readFileBounded } from '../platform/files.ts';
import { homeRefusals } from './refusals.ts';

const MAX_ANCHOR_BYTES = 64 * 1024;
const PEM_SUFFIX = '.pem';
/** Content: SHA-256 of the SubjectPublicKeyInfo as 64 lower-case hexadecimal digits, and a line feed. */
const PIN_SUFFIX = '.spki-sha256';

/** A vendor's root of one purpose lies in a folder of its own, those of devices in the folder of the class. */
const PURPOSE_FOLDERS: Readonly<Record<AnchorPurpose, string>> = {
  endorsements: '.',
  'reference-values': 'reference-values',
  'attestation-results': 'attestation-results',
};

interface AnchorFolder {
  /** Below the anchors folder. */
  readonly path: string;
  readonly simulated: boolean;
  readonly purpose: AnchorPurpose;
}

/** The folders of one device class. */
export function anchorFolders(
  deviceClass: string,
  mode: Mode,
  purposes: readonly AnchorPurpose[],
): readonly AnchorFolder[] {
  return purposes.flatMap((purpose) => {
    const path = join(deviceClass, PURPOSE_FOLDERS[purpose]);
    const real = { path, simulated: false, purpose };
    return mode === 'evaluation'
      ? [real, { ...real, path: join('simulated', path), simulated: true }]
      : [real];
  });
}

/**
 * Reads the authorities of one device class. A folder that is not there holds none.
 *
 * @throws RefusalError `home-anchor`, `file-*`, and those of `readCertificate`
 */
export async function readAnchors(
  folder: string,
  deviceClass: string,
  mode: Mode,
  purposes: readonly AnchorPurpose[] = ['endorsements'],
): Promise<readonly TrustAnchor[]> {
  const anchors: TrustAnchor[] = [];
  for (const { path, simulated, purpose } of anchorFolders(deviceClass, mode, purposes)) {
    for (const name of await anchorFiles(join(folder, path))) {
      anchors.push({ ...(await readAnchor(join(folder, path, name))), simulated, purpose });
    }
  }
  return anchors;
}

/** Below the folder of the class. */
const INTERMEDIATES = 'intermediates';

/**
 * Certificates that stand between devices of a class and its authorities: collateral, found here and believed by nobody for
 * it (docs/spec/tpm-identity.md, EK-11).
 *
 * @throws RefusalError `home-anchor`, `file-*`, and those of `readCertificate`
 */
export async function readIntermediates(
  folder: string,
  deviceClass: string,
  mode: Mode,
): Promise<readonly Uint8Array[]> {
  const certificates: Uint8Array[] = [];
  for (const { path } of anchorFolders(deviceClass, mode, ['endorsements'])) {
    const place = join(folder, path, INTERMEDIATES);
    const names = (await anchorFiles(place)).filter((name) => name.endsWith(PEM_SUFFIX));
    for (const name of names) certificates.push(await readPemCertificate(join(place, name)));
  }
  return certificates;
}

/** A file that pins an authority by its key. @param publicKeyDigest lower-case hex */
export function pinFile(name: string, publicKeyDigest: string): { name: string; content: Uint8Array } {
  return { name: `${name}${PIN_SUFFIX}`, content: toUtf8(`${publicKeyDigest}\n`) };
}

async function readAnchor(path: string): Promise<DistributiveOmit<TrustAnchor, 'simulated'>> {
  if (path.endsWith(PEM_SUFFIX)) {
    return { name: basename(path, PEM_SUFFIX), certificate: await readPemCertificate(path) };
  }
  return { name: basename(path, PIN_SUFFIX), publicKeyDigest: await readPin(path) };
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

async function readPin(path: string): Promise<Uint8Array> {
  const text = fromUtf8(await readFileBounded(path, MAX_ANCHOR_BYTES), path);
  if (/^[0-9a-f]{64}\n?$/.test(text)) return fromHex(text.trimEnd(), path);
  const facts = { field: path, expected: 'a SHA-256 in lower-case hexadecimal', found: excerpt(text) };
  throw homeRefusals.error('home-anchor', facts);
}

async function anchorFiles(folder: string): Promise<readonly string[]> {
  try {
    const names = await readdir(folder);
    return names.filter((name) => name.endsWith(PEM_SUFFIX) || name.endsWith(PIN_SUFFIX)).sort();
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return [];
    throw homeRefusals.error(
      'home-anchor',
      { field: folder, expected: 'a folder that can be read', found: 'one that cannot' },
      { cause },
    );
  }
}

async function readPemCertificate(path: string): Promise<Uint8Array> {
  const pem = await readFileBounded(path, MAX_ANCHOR_BYTES);
  const certificate = new Uint8Array(parsePem(path, pem).raw);
  readCertificate(certificate, path);
  return certificate;
}

function parsePem(path: string, pem: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw homeRefusals.error(
      'home-anchor',
      { field: path, expected: 'one certificate in PEM', found: 'something else' },
      { cause },
    );
  }
}
