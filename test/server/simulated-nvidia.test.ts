/** W9 for GPUs: the simulated NVIDIA is accepted where the folder of an evaluation server names it, and nowhere else. */

import { X509Certificate } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { nvidiaGpuDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import type { Mode } from '../../src/governance/fields.ts';
import { makeGpu } from '../../src/agent/simulated/nvidia-device.ts';
import { readAnchors } from '../../src/server/anchors.ts';
import { evidenceOf, inputsFor, simulatedNvidia } from '../support/simulated-gpu.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const NONCE = new Uint8Array(32).fill(9);
const PURPOSES = ['endorsements', 'reference-values'] as const;

/** The folder of anchors as an evaluation server has it. */
async function anchorsFolder(): Promise<string> {
  const { devices, manifests } = await simulatedNvidia();
  const folder = await temporaryFolder();
  const roots = { 'nvidia-gpu': devices.root, 'nvidia-gpu/reference-values': manifests.root };
  for (const [path, { certificate }] of Object.entries(roots)) {
    await mkdir(join(folder, 'simulated', path), { recursive: true });
    const pem = new X509Certificate(certificate).toString();
    await writeFile(join(folder, 'simulated', path, 'root.pem'), pem);
  }
  return folder;
}

async function verdictOf(mode: Mode) {
  const vendor = await simulatedNvidia();
  const device = await makeGpu(vendor.devices);
  const anchors = await readAnchors(await anchorsFolder(), 'nvidia-gpu', mode, PURPOSES);
  const inputs = { ...(await inputsFor(vendor, device, NONCE)), anchors };
  const evidence = nvidiaGpuDeviceClass.parse(await evidenceOf(device, NONCE), 'evidence');
  return { anchors, verdict: await nvidiaGpuDeviceClass.verify(evidence, inputs) };
}

it('W9, NS-6: an evaluation server accepts a simulated GPU, and its claims say so', async () => {
  const { anchors, verdict } = await verdictOf('evaluation');
  expect(anchors.map(({ simulated, purpose }) => [simulated, purpose])).toEqual(
    PURPOSES.map((purpose) => [true, purpose]),
  );
  expect(verdict).toMatchObject({ outcome: 'accepted', claims: { simulated: true } });
});

it('W9, NS-6: a production server with the same folder has no anchor for it, and refuses', async () => {
  const { anchors, verdict } = await verdictOf('production');
  expect(anchors).toEqual([]);
  expect(verdict).toMatchObject({ outcome: 'refused', refusals: [{ code: 'path-untrusted' }] });
});
