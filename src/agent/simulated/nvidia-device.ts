/** A simulated GPU or NVSwitch: keys of its own, the certificates of its maker, and a report that lacks only a nonce. */

import { X509Certificate, type KeyObject } from 'node:crypto';

import { toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { MeasurementsReport } from '../../../attestation/nvidia-gpu/spdm.ts';
import type { ReportingDevice } from '../../../native/nvml/gpu.ts';
import type { DeviceDescription, SimulatedChip, SimulatedNvidia } from './nvidia-authority.ts';
import {
  gpuFields,
  gpuReport,
  signedReport,
  switchFields,
  switchReport,
  type GpuSettings,
  type SimulatedGpuChip,
  type SwitchSettings,
} from './nvidia-report.ts';

export interface SimulatedGpu extends Omit<DeviceDescription, 'chip'>, GpuSettings {
  /** A Hopper GPU if it is not given. */
  readonly chip?: SimulatedGpuChip;
}

export interface SimulatedSwitch extends Omit<DeviceDescription, 'chip'>, SwitchSettings {}

export interface SimulatedDeviceParts {
  readonly name: string;
  readonly chip: SimulatedChip;
  /** Leaf to root, DER. */
  readonly chain: readonly Uint8Array[];
  readonly key: KeyObject;
  /** Nonces and signature do not count. */
  readonly template: MeasurementsReport;
}

export class SimulatedNvidiaDevice implements ReportingDevice {
  readonly name: string;
  readonly chip: SimulatedChip;
  readonly chain: readonly Uint8Array[];
  readonly key: KeyObject;
  readonly template: MeasurementsReport;

  constructor({ name, chip, chain, key, template }: SimulatedDeviceParts) {
    this.name = name;
    this.chip = chip;
    this.chain = chain;
    this.key = key;
    this.template = template;
  }

  certificateChain(): Promise<Uint8Array> {
    return Promise.resolve(
      toUtf8(this.chain.map((certificate) => new X509Certificate(certificate).toString()).join('')),
    );
  }

  attestationReport(nonce: Uint8Array): Promise<Uint8Array> {
    return Promise.resolve(signedReport(this.template, nonce, this.key));
  }

  /** The same device with other parts, for example certificates that somebody exchanged. */
  with(changes: Partial<SimulatedDeviceParts>): SimulatedNvidiaDevice {
    const { name, chip, chain, key, template } = this;
    return new SimulatedNvidiaDevice({ name, chip, chain, key, template, ...changes });
  }
}

/** @throws RefusalError `layout-value`, `gpu-version` for fields that no report can hold */
export async function makeGpu(
  nvidia: SimulatedNvidia,
  gpu: SimulatedGpu = {},
): Promise<SimulatedNvidiaDevice> {
  const { chip = 'GH100' } = gpu;
  const keys = await nvidia.certifyDevice({ ...gpu, chip });
  const fields = gpuFields(chip, keys.firmwareId, gpu.fields);
  return new SimulatedNvidiaDevice({
    name: uuidOf(keys.unitNumber),
    chip,
    chain: nvidia.chainOf(keys),
    key: keys.leaf.key,
    template: gpuReport(chip, fields, gpu),
  });
}

/** @throws RefusalError `layout-value`, `gpu-version` for fields that no report can hold */
export async function makeSwitch(
  nvidia: SimulatedNvidia,
  nvswitch: SimulatedSwitch = {},
): Promise<SimulatedNvidiaDevice> {
  const keys = await nvidia.certifyDevice({ ...nvswitch, chip: 'LS10' });
  const fields = switchFields(keys.pdi, nvswitch.fields);
  return new SimulatedNvidiaDevice({
    name: `SWX-${toHex(keys.unitNumber).toUpperCase()}`,
    chip: 'LS10',
    chain: nvidia.chainOf(keys),
    key: keys.leaf.key,
    template: switchReport(fields, nvswitch),
  });
}

/** In the form in which a driver names GPUs. */
function uuidOf(unitNumber: Uint8Array): string {
  const digits = toHex(unitNumber).padStart(32, '0');
  return `GPU-${digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')}`;
}
