/** What a simulated NVIDIA gives about devices, as files in a folder that collateral is imported from. */

import { X509Certificate } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { SimulatedNvidiaDevice } from './nvidia-device.ts';
import type { SimulatedVendor } from './nvidia-vendor.ts';

const MANIFEST = 'rim:';
const ANSWER = 'ocsp:';

/**
 * Writes manifests under their identifiers, and answers under the digests of the certificates that they are about, each
 * with the chain of that certificate beside it (docs/spec/collateral.md).
 */
export async function writeSimulatedCollateral(
  folder: string,
  vendor: SimulatedVendor,
  devices: readonly SimulatedNvidiaDevice[],
): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const device of devices) {
    const chains = [
      device.chain.slice(1),
      vendor.manifests.chainOf(device.chip).map(({ certificate }) => certificate),
    ];
    for (const [name, bytes] of await vendor.collateralFor(device)) {
      const isManifest = name.startsWith(MANIFEST);
      const file = isManifest ? `${name.slice(MANIFEST.length)}.xml` : `${name.slice(ANSWER.length)}.der`;
      await writeFile(join(folder, file), bytes);
    }
    for (const chain of chains) await writeChains(folder, chain);
  }
}

/** One file for each certificate but the root: the certificate and all above it. */
async function writeChains(folder: string, chain: readonly Uint8Array[]): Promise<void> {
  const certificates = chain.map((der) => new X509Certificate(der));
  for (const [i, certificate] of certificates.slice(0, -1).entries()) {
    const digest = certificate.fingerprint256.replaceAll(':', '').toLowerCase();
    await writeFile(join(folder, `${digest}-chain.pem`), certificates.slice(i).map(String).join(''));
  }
}
