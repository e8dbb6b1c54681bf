/** The devices of a file, each with its certificates and as the kind that it is to be read as. */

import { readPemChain } from '../../attestation/nvidia-gpu/evidence.ts';
import type { ReportKind } from '../../attestation/nvidia-gpu/spdm.ts';
import { usageRefusals } from './failure.ts';
import { readInput } from './evidence-files.ts';
import { MAX_PRESENTED_BYTES, readPresentedDevices, type PresentedDevice } from './evidence-nvidia-files.ts';

export interface NamedDevice extends PresentedDevice {
  readonly kind: ReportKind;
}

/** The label that NVIDIA's tools give a switch. A wrong one ends in a refusal: reports of GPUs and switches differ. */
const SWITCH_LABEL = 'LS10';

/**
 * Reads the devices. A bare report has its certificates in other files, JSON has them beside it.
 *
 * @param chain files of certificates in PEM, in order; without them a bare report has none
 * @throws RefusalError `argument-invalid`, `file-*`, and what reading the files throws
 */
export async function readNvidiaDevices(
  path: string,
  kind: ReportKind,
  chain: readonly string[],
): Promise<readonly NamedDevice[]> {
  const presented = readPresentedDevices(await readInput(path, MAX_PRESENTED_BYTES), path);
  const certificates = await readChainFiles(chain);
  const isComplete = presented.every((device) => device.certificates.length > 0);
  if (isComplete && certificates.length > 0) {
    const facts = {
      field: 'chain',
      expected: 'the certificates once',
      found: 'some beside those of the JSON',
    };
    throw usageRefusals.error('argument-invalid', facts);
  }
  return presented.map((device) => ({
    ...device,
    certificates: isComplete ? device.certificates : certificates,
    kind: device.hints['arch'] === SWITCH_LABEL ? 'switch' : kind,
  }));
}

async function readChainFiles(paths: readonly string[]): Promise<readonly Uint8Array[]> {
  const files = await Promise.all(paths.map(async (path) => readPemChain(await readInput(path), path)));
  return files.flat();
}
