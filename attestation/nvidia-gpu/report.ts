/** A report of one kind of device with everything that it says, read. */

import { readOpaqueData } from './opaque-data.ts';
import type { OpaqueData } from './opaque-data.ts';
import { readGpuFields, readSwitchFields } from './opaque-fields.ts';
import type { GpuFields, SwitchFields } from './opaque-fields.ts';
import { readReport } from './spdm.ts';
import type { MeasurementsReport, ReportKind } from './spdm.ts';

interface CommonReport {
  /** The report as it was received: the signature is over all of it but the last 96 bytes. */
  readonly bytes: Uint8Array;
  readonly message: MeasurementsReport;
  readonly opaqueData: OpaqueData;
}

export interface GpuReport extends CommonReport {
  readonly kind: 'gpu';
  readonly fields: GpuFields;
}

export interface SwitchReport extends CommonReport {
  readonly kind: 'switch';
  readonly fields: SwitchFields;
}

/** A report as its bytes claim it. */
export type DeviceReport = GpuReport | SwitchReport;

/** @throws RefusalError of the family `malformed`: `gpu-*`, `layout-*`, `utf8-malformed` */
export function readDeviceReport(bytes: Uint8Array, kind: 'gpu', path?: string): GpuReport;
export function readDeviceReport(bytes: Uint8Array, kind: 'switch', path?: string): SwitchReport;
export function readDeviceReport(bytes: Uint8Array, kind: ReportKind, path?: string): DeviceReport;
export function readDeviceReport(bytes: Uint8Array, kind: ReportKind, path = 'report'): DeviceReport {
  const message = readReport(bytes, kind, path);
  const field = `${path}.opaqueData`;
  const opaqueData = readOpaqueData(message.response.opaqueData, field);
  const common = { bytes, message, opaqueData };
  return kind === 'gpu'
    ? { kind, ...common, fields: readGpuFields(opaqueData, field) }
    : { kind, ...common, fields: readSwitchFields(opaqueData, field) };
}
