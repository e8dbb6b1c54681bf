/** What the readers of this project make of reports and chains of devices, by the names of the manifest. */

import { sha256, sha384 } from '@noble/hashes/sha2.js';

import { concatBytes, equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { nameAttributes } from '../../attestation/core/distinguished-name.ts';
import type { Certificate } from '../../attestation/core/x509.ts';
import { CHIP_FAMILIES } from '../../attestation/nvidia-gpu/chips.ts';
import type { ChipFamily } from '../../attestation/nvidia-gpu/chips.ts';
import { readFirmwareId } from '../../attestation/nvidia-gpu/fwid.ts';
import type { OpaqueData } from '../../attestation/nvidia-gpu/opaque-data.ts';
import type { GpuFields, SwitchFields } from '../../attestation/nvidia-gpu/opaque-fields.ts';
import type { DeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import { driverRimId, switchRimId, vbiosRimId } from '../../attestation/nvidia-gpu/rim/identifier.ts';
import { signedBytes } from '../../attestation/nvidia-gpu/spdm.ts';
import { commonNameOf, keyDigest } from './vector-nvidia-certificates.ts';
import type { Members } from './vector-nvidia-judgement.ts';

const SERIAL_NUMBER = '2.5.4.5';
const SWITCHED = { enabled: 'aa', disabled: '55' } as const;
const FEATURE_FLAGS = { spt: 0, mpt: 1, ppcie: 2 } as const;

const upperHex = (bytes: Uint8Array): string => toHex(bytes).toUpperCase();
const littleEndianHex = (value: number): string => toHex(Uint8Array.of(value & 0xff, value >> 8));

/** Only what is there: the manifest leaves out what a device does not send. */
function present(members: Members): Members {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

/** Members of one report. @param whole the file, with what may follow the signature */
export function reportMembers({ bytes, message, opaqueData }: DeviceReport, whole: Uint8Array): Members {
  const { blocks, nonce, opaqueData: encoded } = message.response;
  return {
    nonce: toHex(message.request.nonce),
    response_nonce: toHex(nonce),
    report_length: whole.length,
    measurement_blocks: blocks.length,
    // Index, specification and size, then type and size of the value, stand before each value.
    measurement_record_length: blocks.reduce((sum, { measurement }) => sum + 7 + measurement.value.length, 0),
    opaque_length: encoded.length,
    opaque_format: formatOf(opaqueData),
    opaque_types: opaqueData.entries.map(({ type }) => type),
    signature_offset: signedBytes(bytes).length,
    trailing_bytes: whole.length - bytes.length,
    signed_sha384: toHex(sha384(signedBytes(bytes))),
    measurements_sha256: measurementsDigest(message.response.blocks),
  };
}

export function formatOf({ format }: OpaqueData): string {
  return format === 'packed' ? 'tlv' : 'nvdaod';
}

export function measurementsDigest(blocks: DeviceReport['message']['response']['blocks']): string {
  return toHex(sha256(concatBytes(...blocks.map(({ measurement }) => measurement.value))));
}

/** Members of what a GPU says of itself. */
export function gpuMembers(fields: GpuFields, family: ChipFamily | undefined): Members {
  const { featureFlag, protectedPcie, fwid, systemEnableStatus, boardId, chipInfo } = fields;
  const chip = chipInfo ?? family?.unstatedChip;
  return present({
    driver_version: fields.driverVersion,
    vbios_version: fields.vbiosVersion,
    project: fields.project,
    project_sku: fields.projectSku,
    chip_sku: fields.chipSku,
    chip_info: chipInfo,
    board_id: boardId && toHex(boardId),
    nvdec0_status: SWITCHED[fields.nvdec0Status],
    protected_pcie_status: protectedPcie && SWITCHED[protectedPcie],
    opaque_data_version: fields.dataVersion,
    feature_flag: featureFlag && FEATURE_FLAGS[featureFlag],
    sys_enable_status: systemEnableStatus && toHex(systemEnableStatus),
    mode: modeText(fields),
    driver_rim_id: chip && driverRimId({ chip, driverVersion: fields.driverVersion }),
    vbios_rim_id: vbiosRimId(fields),
    opaque_fwid: fwid && toHex(fwid),
  });
}

function modeText({ featureFlag, protectedPcie }: GpuFields): string {
  if (featureFlag !== undefined) return featureFlag.toUpperCase();
  if (protectedPcie === 'enabled') return 'PPCIE';
  const why = protectedPcie === undefined ? 'no mode field at all' : 'no feature flag, protected PCIe off';
  return `SPT (legacy: ${why})`;
}

/** Members of what a switch says of itself. */
export function switchMembers(fields: SwitchFields): Members {
  return {
    vbios_version: fields.vbiosVersion,
    bios_rim_id: switchRimId(fields),
    lock_status: littleEndianHex(fields.lockStatus),
    disabled_ports: toHex(fields.disabledPorts),
    position_id: littleEndianHex(fields.positionId),
  };
}

/** The family that a certificate names, of whatever level of the chain it is. */
export function familyOf(certificate: Certificate | undefined): ChipFamily | undefined {
  const [name] = (certificate && commonNameOf(certificate))?.split(' ') ?? [];
  return CHIP_FAMILIES.find((family) => family.name === name);
}

function serialNumberOf({ subject }: Certificate): string | undefined {
  return nameAttributes(subject, 'subject').get(SERIAL_NUMBER);
}

/** Members of the two certificates at the device's end of a chain, as they stand there. */
export function chainMembers([leaf, bootRom]: readonly Certificate[]): Members {
  const digest = leaf && firmwareDigest(leaf);
  return present({
    cert_fwid: digest && toHex(digest),
    leaf_cn: leaf && commonNameOf(leaf),
    leaf_serial: leaf && serialNumberOf(leaf),
    brom_cn: bootRom && commonNameOf(bootRom),
    brom_serial: bootRom && serialNumberOf(bootRom),
    brom_spki_sha256: bootRom && keyDigest(bootRom),
  });
}

/** The firmware that a leaf stands for; undefined for a certificate that is no leaf of a known family. */
export function firmwareDigest(leaf: Certificate): Uint8Array | undefined {
  const family = familyOf(leaf);
  const isLeaf = commonNameOf(leaf)?.endsWith(' FMC LF') === true;
  return isLeaf && family !== undefined
    ? readFirmwareId(leaf, family.firmwareIdForm, 'leaf').digest
    : undefined;
}

/** PDIs that stand for a device: those of unused links are zero. */
export function usedPdis(pdis: readonly Uint8Array[]): readonly string[] {
  const used = pdis.filter((pdi) => !equalBytes(pdi, new Uint8Array(pdi.length)));
  return [...new Set(used.map(upperHex))];
}
