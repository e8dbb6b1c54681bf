/**
 * Reports of simulated GPUs and NVSwitches, less nonce and signature, and the reference values that they match. Every
 * member of them may be set, as firmware that is old, wrongly configured or forged would set it.
 */

import { createHash, randomBytes, sign, type KeyObject } from 'node:crypto';

import {
  writeOpaqueData,
  type OpaqueData,
  type PackedEntry,
} from '../../../attestation/nvidia-gpu/opaque-data.ts';
import {
  gpuEntries,
  switchEntries,
  type GpuFields,
  type SwitchFields,
} from '../../../attestation/nvidia-gpu/opaque-fields.ts';
import {
  writeReport,
  writeSignedBytes,
  type MeasurementBlock,
  type MeasurementsReport,
} from '../../../attestation/nvidia-gpu/spdm.ts';
import type { SimulatedChip } from './nvidia-authority.ts';
import type { ManifestContents } from './nvidia-manifest.ts';

export type SimulatedGpuChip = Exclude<SimulatedChip, 'LS10'>;

/** What a report says besides nonce and signature. */
interface ReportSettings {
  /** Blocks in place of those that the manifests have, by index from 0. */
  readonly measurements?: ReadonlyMap<number, Uint8Array>;
  /** Any other member of the report. */
  readonly report?: Partial<MeasurementsReport>;
}

export interface GpuSettings extends ReportSettings {
  /** What the GPU says about itself, in place of what an ordinary one says. */
  readonly fields?: Partial<GpuFields>;
  /** Writes the fields as drivers of CUDA 13.5 and later do. */
  readonly withHeader?: boolean;
}

export interface SwitchSettings extends ReportSettings {
  readonly fields?: Partial<SwitchFields>;
}

const MEASUREMENT_BYTES = 48;
const BLOCKS = { gpu: 64, switch: 31 } as const;

/** Which indices each manifest of NVIDIA's has reference values for. */
const COVERED = {
  driver: [7, ...Array.from({ length: 20 }, (_, i) => 21 + i)],
  vbios: [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12],
  switch: Array.from({ length: BLOCKS.switch }, (_, i) => i),
} as const;

type Firmware = keyof typeof COVERED;

/** Ordinary cards: H100 PCIe, B200 and RTX PRO 6000. */
const GPUS: Readonly<Record<SimulatedGpuChip, Partial<GpuFields>>> = {
  GH100: { vbiosVersion: '96.00.9F.00.01', project: '1010', projectSku: '0200', chipSku: '882' },
  GB100: {
    ...{ vbiosVersion: '97.00.D9.00.35', project: 'G525', projectSku: '0220', chipSku: '886' },
    ...{ systemEnableStatus: Uint8Array.of(7, 7), chipInfo: 'GB100' },
  },
  GB202: {
    ...{ vbiosVersion: '98.02.6A.00.03', project: 'G153', projectSku: '0000', chipSku: '895' },
    ...{ systemEnableStatus: Uint8Array.of(7, 7), chipInfo: 'GB202' },
  },
};

const ORDINARY_GPU: GpuFields = {
  driverVersion: '590.48.01',
  gpuInfo: Uint8Array.of(0x80, 1, 0, 0, 0, 0, 0, 0),
  vbiosVersion: '96.00.9F.00.01',
  nvdec0Status: 'disabled',
  measurementCounts: new Array<number>(64).fill(1),
  cprInfo: Uint8Array.of(0, 0xc0, 1, 0),
  boardId: Uint8Array.of(0xb1, 3, 0, 0),
  chipSku: '882',
  chipSkuModifier: '0',
  project: '1010',
  projectSku: '0200',
  projectSkuModifier: '',
  fwid: undefined,
  protectedPcie: 'disabled',
  switchPdis: undefined,
  systemEnableStatus: undefined,
  dataVersion: 1,
  chipInfo: undefined,
  featureFlag: 'spt',
  fspUcodeSvn: undefined,
};

/** Without GPUs at its ports: they are named by those who put a machine together. */
const ORDINARY_SWITCH: Omit<SwitchFields, 'pdi'> = {
  vbiosVersion: '96.10.73.00.01',
  measurementCounts: new Array<number>(27).fill(1),
  disabledPorts: Uint8Array.of(0xec, 0),
  positionId: 0,
  lockStatus: 1,
  gpuPdis: Array.from({ length: 8 }, () => new Uint8Array(8)),
  portMap: new Uint8Array(64).fill(0xff),
};

/** What a GPU of this chip says about itself. @param firmwareId of its signing key; null where it names none */
export function gpuFields(
  chip: SimulatedGpuChip,
  firmwareId: Uint8Array | null,
  changes: Partial<GpuFields> = {},
): GpuFields {
  return { ...ORDINARY_GPU, ...GPUS[chip], fwid: firmwareId ?? undefined, ...changes };
}

export function switchFields(pdi: Uint8Array, changes: Partial<SwitchFields> = {}): SwitchFields {
  return { ...ORDINARY_SWITCH, pdi, ...changes };
}

/** The report of a GPU in which its firmware is what its manifests say. */
export function gpuReport(
  chip: SimulatedGpuChip,
  fields: GpuFields,
  settings: GpuSettings = {},
): MeasurementsReport {
  const values = new Map([
    ...referenceValues(chip, 'driver', fields.driverVersion),
    ...referenceValues(chip, 'vbios', fields.vbiosVersion),
    ...(settings.measurements ?? []),
  ]);
  const opaque = settings.withHeader === true ? headed(fields) : packed(gpuEntries(fields));
  return { ...reportOf(BLOCKS.gpu, values, opaque), ...settings.report };
}

export function switchReport(fields: SwitchFields, settings: SwitchSettings = {}): MeasurementsReport {
  const values = new Map([
    ...referenceValues('LS10', 'switch', fields.vbiosVersion),
    ...(settings.measurements ?? []),
  ]);
  return { ...reportOf(BLOCKS.switch, values, packed(switchEntries(fields))), ...settings.report };
}

/** A report over a nonce, in the bytes that a driver gives. */
export function signedReport(template: MeasurementsReport, nonce: Uint8Array, key: KeyObject): Uint8Array {
  const { request, response } = template;
  const report = {
    request: { ...request, nonce },
    response: { ...response, nonce: new Uint8Array(randomBytes(32)) },
  };
  const signature = sign('sha384', writeSignedBytes(report), { key, dsaEncoding: 'ieee-p1363' });
  return writeReport({ ...report, signature });
}

/** The manifest of a version of a chip's driver, of its VBIOS, or of a switch's firmware. */
export function manifestOf(chip: SimulatedChip, firmware: Firmware, version: string): ManifestContents {
  const values = referenceValues(chip, firmware, version);
  const resources = Array.from({ length: BLOCKS.gpu }, (_, index) => {
    const value = values.get(index);
    const alternatives = [value ?? new Uint8Array(MEASUREMENT_BYTES)];
    return { index, active: value !== undefined, alternatives };
  });
  return { product: chip, edition: chip === 'LS10' ? 'SWITCH' : 'GPU', version, resources };
}

/** Stands in for what the firmware of real devices measures. */
function referenceValues(
  chip: SimulatedChip,
  firmware: Firmware,
  version: string,
): ReadonlyMap<number, Uint8Array> {
  const value = (index: number): Uint8Array =>
    new Uint8Array(createHash('sha384').update(`${chip} ${firmware} ${version} ${index}`).digest());
  return new Map(COVERED[firmware].map((index) => [index, value(index)]));
}

function reportOf(
  count: number,
  values: ReadonlyMap<number, Uint8Array>,
  opaqueData: Uint8Array,
): MeasurementsReport {
  const blocks = Array.from({ length: count }, (_, index): MeasurementBlock => {
    const value = values.get(index) ?? new Uint8Array(MEASUREMENT_BYTES);
    return { index: index + 1, specification: 1, measurement: { valueType: 1, value } };
  });
  const none = new Uint8Array(32);
  return {
    request: { version: 0x11, code: 0xe0, parameter1: 1, parameter2: 0xff, nonce: none, slot: 0 },
    response: {
      ...{ version: 0x11, code: 0x60, parameter1: 0, parameter2: 0, blockCount: count },
      ...{ blocks, nonce: none, opaqueData },
    },
    signature: new Uint8Array(96),
  };
}

function packed(entries: readonly PackedEntry[]): Uint8Array {
  return writeOpaqueData({ format: 'packed', entries });
}

/** DMTF's types of values, as a driver with a header writes them beside each type of entry; raw ones have 0x82. */
const VALUE_TYPES = new Map([
  ...[3, 6, 34].map((type) => [type, 0x86] as const),
  ...[21, 36].map((type) => [type, 0x85] as const),
  ...[12, 22].map((type) => [type, 0x84] as const),
  ...[[13, 0x83] as const, [20, 0x01] as const, [37, 0x87] as const],
]);
const RAW = 0x82;
const HEADER_VERSION = { major: 2, minor: 0, patch: 0 } as const;

function headed(fields: GpuFields): Uint8Array {
  const dataVersion = HEADER_VERSION.major * 256 + HEADER_VERSION.minor;
  const entries = gpuEntries({ ...fields, dataVersion, fspUcodeSvn: fields.fspUcodeSvn ?? 0 });
  const typed = entries.map(({ type, value }) => ({ type, valueType: VALUE_TYPES.get(type) ?? RAW, value }));
  const data: OpaqueData = { format: 'typed', version: HEADER_VERSION, entries: typed };
  return writeOpaqueData(data);
}
