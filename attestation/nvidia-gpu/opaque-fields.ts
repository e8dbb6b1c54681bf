/**
 * The entries of opaque data by name: tables of type, value type and form, one for GPUs and one for switches. Everything
 * that is signed is read; a type, a size or a value that the table does not have is refused.
 */

import { toUtf8 } from '../core/bytes.ts';
import { fixedBytes, littleEndian } from '../core/layout.ts';
import { opaqueRefusals } from './opaque-data.ts';
import type { OpaqueData, PackedEntry } from './opaque-data.ts';
import {
  featureFlag,
  gpuConnections,
  measurementCounts,
  modifier,
  PDI_BYTES,
  peerPdis,
  plain,
  sku,
  switched,
  text,
} from './opaque-values.ts';
import type { Codec } from './opaque-values.ts';
import { driverVersion, vbiosVersion, vbiosVersionBytes, vbiosVersionOf } from './vbios-version.ts';

const { u16 } = littleEndian;

interface Field<T> extends Codec<T> {
  readonly type: number;
  /** Accepted where entries say the type of their value: DMTF value types, of which all but 1 are raw. */
  readonly valueTypes: readonly number[];
  readonly isRequired: boolean;
}

interface RequiredField<T> extends Field<T> {
  readonly isRequired: true;
}
interface OptionalField<T> extends Field<T> {
  readonly isRequired: false;
}

const ValueType = { digest: 0x01, raw: 0x82, bits: 0x83, array: 0x84, enumeration: 0x85 } as const;
const VersionType = { version: 0x86, securityVersion: 0x87 } as const;
/** For types of which there is no published sample behind the header: whatever is not a digest. */
const RAW_TYPES = [0x82, 0x83, 0x84, 0x85, 0x86] as const;

function required<T>(type: number, valueTypes: readonly number[], codec: Codec<T>): RequiredField<T> {
  return { type, valueTypes, isRequired: true, ...codec };
}

function optional<T>(type: number, valueTypes: readonly number[], codec: Codec<T>): OptionalField<T> {
  return { type, valueTypes, isRequired: false, ...codec };
}

const GPU_FIELDS = {
  driverVersion: required(3, [VersionType.version], {
    read: (bytes, field) => driverVersion(text(/^[0-9.]+$/, { isEnded: true }).read(bytes, field), field),
    write: (version) => toUtf8(`${version}\0`),
  }),
  gpuInfo: optional(4, [ValueType.raw], plain(fixedBytes(8))),
  vbiosVersion: required(6, [VersionType.version], { read: vbiosVersionOf, write: vbiosVersionBytes }),
  nvdec0Status: required(11, [ValueType.raw], switched),
  measurementCounts: required(12, [ValueType.array], measurementCounts),
  cprInfo: optional(13, [ValueType.bits], plain(fixedBytes(4))),
  boardId: optional(14, [ValueType.raw], plain(fixedBytes(4))),
  chipSku: required(15, [ValueType.raw], sku),
  chipSkuModifier: optional(16, [ValueType.raw], modifier),
  project: required(17, [ValueType.raw], sku),
  projectSku: required(18, [ValueType.raw], sku),
  projectSkuModifier: optional(19, [ValueType.raw], modifier),
  fwid: optional(20, [ValueType.digest], plain(fixedBytes(48))),
  protectedPcie: optional(21, [ValueType.enumeration], switched),
  switchPdis: optional(22, RAW_TYPES, peerPdis),
  systemEnableStatus: optional(33, RAW_TYPES, plain(fixedBytes(2))),
  dataVersion: optional(34, [VersionType.version], plain(u16())),
  chipInfo: optional(35, RAW_TYPES, sku),
  featureFlag: optional(36, [ValueType.enumeration], featureFlag),
  fspUcodeSvn: optional(37, [VersionType.securityVersion], plain(u16())),
} as const;

const SWITCH_FIELDS = {
  vbiosVersion: required(6, [], {
    read: (bytes, field) => vbiosVersion(text(/^[0-9A-F.]+$/, { isEnded: false }).read(bytes, field), field),
    write: (version) => toUtf8(version),
  }),
  measurementCounts: optional(12, [], measurementCounts),
  pdi: required(22, [], plain(fixedBytes(PDI_BYTES))),
  disabledPorts: required(23, [], plain(fixedBytes(2))),
  positionId: required(24, [], plain(u16())),
  lockStatus: required(25, [], plain(u16())),
  gpuConnections: optional(26, [], gpuConnections),
  /** Firmware 96.10.52 has the list under the number of GPU_INFO. */
  earlyGpuConnections: optional(4, [], gpuConnections),
} as const;

/** A field whose type of value does not matter. */
type AnyField = Omit<Field<unknown>, 'write'> & { readonly write: (value: never) => Uint8Array };
type Table = Readonly<Record<string, AnyField>>;
type Values<T> = {
  readonly [K in keyof T]: T[K] extends RequiredField<infer V>
    ? V
    : T[K] extends OptionalField<infer V>
      ? V | undefined
      : never;
};

/** What a GPU says about itself. An entry that it does not send is undefined. */
export type GpuFields = Values<typeof GPU_FIELDS>;
type RawSwitchFields = Values<typeof SWITCH_FIELDS>;

/** What a switch says about itself. */
export interface SwitchFields extends Omit<RawSwitchFields, 'gpuConnections' | 'earlyGpuConnections'> {
  readonly gpuPdis: readonly Uint8Array[];
  readonly portMap: Uint8Array;
}

/**
 * Reads what a GPU sends.
 *
 * @throws RefusalError `gpu-opaque-*`, `gpu-version`, `layout-*`, `utf8-malformed`
 */
export function readGpuFields(data: OpaqueData, path: string): GpuFields {
  const fields = readFields<typeof GPU_FIELDS>(GPU_FIELDS, data, path);
  refuseOtherVersion(data, fields, path);
  return fields;
}

/** Reads what a switch sends. Only the layout without a header is known of switches. @throws as {@link readGpuFields} */
export function readSwitchFields(data: OpaqueData, path: string): SwitchFields {
  if (data.format === 'typed') {
    const facts = { field: path, expected: 'entries without a header', found: 'a header' };
    throw opaqueRefusals.error('gpu-opaque-version', facts);
  }
  const {
    gpuConnections: late,
    earlyGpuConnections: early,
    ...fields
  } = readFields<typeof SWITCH_FIELDS>(SWITCH_FIELDS, data, path);
  const connections = late ?? early;
  if (connections === undefined || (late !== undefined && early !== undefined)) {
    const found = connections === undefined ? 'neither' : 'both';
    throw opaqueRefusals.error('gpu-opaque-required', { field: path, expected: 'type 26, or 4', found });
  }
  return { ...fields, ...connections };
}

/** The entries of a GPU, without a header, as {@link readGpuFields} reads them. */
export function gpuEntries(fields: GpuFields): readonly PackedEntry[] {
  return writeFields(GPU_FIELDS, fields);
}

/** The entries of a switch, as {@link readSwitchFields} reads them. */
export function switchEntries({ gpuPdis, portMap, ...fields }: SwitchFields): readonly PackedEntry[] {
  return writeFields(SWITCH_FIELDS, { ...fields, gpuConnections: { gpuPdis, portMap } });
}

function readFields<T extends Table>(table: T, data: OpaqueData, path: string): Values<T> {
  const names = new Map(Object.entries(table).map(([name, { type }]) => [type, name]));
  const values: Record<string, unknown> = {};
  for (const entry of data.entries) {
    const name = names.get(entry.type);
    const field = name === undefined ? undefined : table[name];
    if (name === undefined || field === undefined) throw unknownType(path, names, entry.type);
    if ('valueType' in entry) refuseOtherValueType(entry, field, `${path}.${name}`);
    values[name] = field.read(entry.value, `${path}.${name}`);
  }
  const missing = Object.entries(table).find(([name, { isRequired }]) => isRequired && !(name in values));
  if (missing === undefined) return values as Values<T>;
  throw opaqueRefusals.error('gpu-opaque-required', {
    field: path,
    expected: `type ${missing[1].type} (${missing[0]})`,
    found: 'none',
  });
}

function writeFields(table: Table, values: Readonly<Record<string, unknown>>): readonly PackedEntry[] {
  return Object.entries(table).flatMap(([name, { type, write }]) => {
    const value = values[name];
    return value === undefined ? [] : [{ type, value: (write as (value: unknown) => Uint8Array)(value) }];
  });
}

function unknownType(field: string, names: ReadonlyMap<number, string>, type: number): Error {
  const expected = `one of the types ${[...names.keys()].join(', ')}`;
  return opaqueRefusals.error('gpu-opaque-type', { field, expected, found: `type ${type}` });
}

function refuseOtherValueType(
  { valueType }: { readonly valueType: number },
  { valueTypes }: AnyField,
  field: string,
): void {
  if (valueTypes.includes(valueType)) return;
  const expected = `the value type ${valueTypes.map((one) => `0x${one.toString(16)}`).join(' or ')}`;
  throw opaqueRefusals.error('gpu-opaque-value', { field, expected, found: `0x${valueType.toString(16)}` });
}

/** Without a header the entry OPAQUE_DATA_VERSION counts; behind one it repeats the header's version. */
const KNOWN_DATA_VERSION = 1;

function refuseOtherVersion(
  data: OpaqueData,
  { dataVersion, featureFlag: flag }: GpuFields,
  path: string,
): void {
  const isKnown =
    data.format === 'packed'
      ? (dataVersion ?? 0) <= KNOWN_DATA_VERSION
      : (dataVersion ?? headerVersion(data.version)) === headerVersion(data.version);
  if (!isKnown) {
    const facts = { field: `${path}.dataVersion`, expected: 'a known one', found: String(dataVersion) };
    throw opaqueRefusals.error('gpu-opaque-version', facts);
  }
  const hasFlag = data.format === 'typed' || (dataVersion ?? 0) >= 1;
  if (hasFlag === (flag !== undefined)) return;
  throw opaqueRefusals.error('gpu-opaque-required', {
    field: `${path}.featureFlag`,
    expected: hasFlag ? 'a feature flag from version 1 on' : 'no feature flag before version 1',
    found: flag ?? 'none',
  });
}

function headerVersion({ major, minor }: { readonly major: number; readonly minor: number }): number {
  return major * 256 + minor;
}
