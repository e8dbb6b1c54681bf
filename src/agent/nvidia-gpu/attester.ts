/** A GPU or an NVSwitch as an attester (docs/spec/nvidia-gpu-agent.md, section 3): it signs a report over a nonce. */

import { equalBytes, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import {
  claimedIdentity,
  readPemChain,
  writeDeviceEvidence,
} from '../../../attestation/nvidia-gpu/evidence.ts';
import { readDeviceReport } from '../../../attestation/nvidia-gpu/report.ts';
import type { ReportKind } from '../../../attestation/nvidia-gpu/spdm.ts';
import type { ReportingDevice } from '../../../native/nvml/gpu.ts';
import type { DeviceAttester, DeviceRequest } from '../evidence.ts';
import { gpuEvidenceRefusals } from './refusals.ts';

/** Device classes of NVIDIA, by what a report is of. */
export const NVIDIA_CLASSES = { gpu: 'nvidia-gpu', switch: 'nvswitch' } as const;
export type NvidiaClass = (typeof NVIDIA_CLASSES)[ReportKind];

export class NvidiaAttester implements DeviceAttester {
  readonly deviceClass: NvidiaClass;
  /** No device of NVIDIA has room for what names others: its report carries the nonce alone. */
  readonly bindsCompanions = false;
  /** 32 bytes that name the device whatever firmware and driver it runs. */
  readonly identity: Uint8Array;
  /** How the driver names it, for messages. */
  readonly name: string;
  private readonly kind: ReportKind;
  private readonly device: ReportingDevice;

  private constructor(kind: ReportKind, device: ReportingDevice, identity: Uint8Array) {
    this.kind = kind;
    this.deviceClass = NVIDIA_CLASSES[kind];
    this.device = device;
    this.name = device.name;
    this.identity = identity;
  }

  /**
   * Reads who the device is (NA-11).
   *
   * @throws RefusalError `nvml-*`, `nscq-*`, and what reading certificates throws
   */
  static async open(kind: ReportKind, device: ReportingDevice): Promise<NvidiaAttester> {
    return new NvidiaAttester(kind, device, claimedIdentity({ certificates: await chainOf(device) }));
  }

  /**
   * The device's part of the evidence bundle.
   *
   * @param nonce 32 bytes; for a challenge the device value
   * @throws RefusalError `nvml-*`, `nscq-*`, `nvml-nonce`, `nvml-gpu-changed`, and what reading a report throws
   */
  async collect(_request: DeviceRequest | undefined, nonce: Uint8Array): Promise<JsonValue> {
    const report = await this.device.attestationReport(nonce);
    const certificates = await chainOf(this.device);
    this.requireNonce(report, nonce);
    this.requireSameDevice(claimedIdentity({ certificates }));
    return writeDeviceEvidence(report, certificates);
  }

  /** NA-14: read as a verifier will, so that what is malformed shows here. */
  private requireNonce(report: Uint8Array, nonce: Uint8Array): void {
    const found = readDeviceReport(report, this.kind, `${this.name}.report`).message.request.nonce;
    if (equalBytes(found, nonce)) return;
    throw gpuEvidenceRefusals.error('nvml-nonce', {
      field: `${this.name}.report.request.nonce`,
      expected: toHex(nonce),
      found: toHex(found),
    });
  }

  private requireSameDevice(found: Uint8Array): void {
    if (equalBytes(found, this.identity)) return;
    throw gpuEvidenceRefusals.error('nvml-gpu-changed', {
      field: this.name,
      expected: `the device ${toHex(this.identity)}`,
      found: toHex(found),
    });
  }
}

async function chainOf(device: ReportingDevice): Promise<readonly Uint8Array[]> {
  return readPemChain(await device.certificateChain(), `${device.name}.certificateChain`);
}
