/**
 * The authorities of hardware vendors that the operator accepts: one PEM file each, in a folder for each device
 * class. Which folder an authority lies in decides whether it vouches for simulated hardware, and only an evaluation
 * server looks into that folder (W9).
 */

import { X509Certificate } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import type { Mode } from '../governance/fields.ts';
import { readFileBounded } from '../platform/files.ts';
import { homeRefusals } from './refusals.ts';

const MAX_ANCHOR_BYTES = 64 * 1024;
const PEM_SUFFIX = '.pem';

/** Folders below the anchors folder. */
export function anchorFolders(
  deviceClass: string,
  mode: Mode,
): readonly { path: string; simulated: boolean }[] {
  const real = { path: deviceClass, simulated: false };
  return mode === 'evaluation' ? [real, { path: join('simulated', deviceClass), simulated: true }] : [real];
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
): Promise<readonly TrustAnchor[]> {
  const anchors: TrustAnchor[] = [];
  for (const { path, simulated } of anchorFolders(deviceClass, mode)) {
    for (const name of await pemFiles(join(folder, path))) {
      const certificate = await readPemCertificate(join(folder, path, name));
      anchors.push({ name: name.slice(0, -PEM_SUFFIX.length), certificate, simulated });
    }
  }
  return anchors;
}

async function pemFiles(folder: string): Promise<readonly string[]> {
  try {
    const names = await readdir(folder);
    return names.filter((name) => name.endsWith(PEM_SUFFIX)).sort();
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
