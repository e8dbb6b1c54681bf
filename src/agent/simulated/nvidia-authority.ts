/**
 * NVIDIA's hierarchy of device keys in software: root, one identity authority for each family, one provisioner for
 * each chip, and the keys that they certify in GPUs and NVSwitches. Whoever has it can certify any device, so only a
 * server born in evaluation mode takes its root as an anchor (W9).
 */

import { randomBytes } from 'node:crypto';

import { toHex } from '../../../attestation/core/bytes.ts';
import { extension, publicKeyOf } from './certificate-parts.ts';
import * as der from './der-writer.ts';
import { firmwareIdExtension, type FirmwareIdForm } from './nvidia-firmware-id.ts';
import {
  authority,
  AUTHORITY_USAGE,
  CERTIFICATE_USAGE,
  certify,
  keyUsage,
  NO_END,
  SIGNATURE_USAGE,
  type CertificateRequest,
  type CertifiedKey,
  type NameAttributes,
} from './nvidia-certificates.ts';

interface Chip {
  /** Part of the names of its authorities. */
  readonly identity: string;
  readonly provisioner: string;
  /** In the common names of device certificates, before `BROM` and `FMC LF`. */
  readonly device: string;
  /** In the leaf's subjectAltName. */
  readonly model: string;
  /** Before the device's number in the BROM certificate's serial number. */
  readonly serialPrefix: number;
  readonly firmwareId: FirmwareIdForm;
}

const CHIPS = {
  GH100: {
    identity: 'GH100',
    provisioner: 'GH100 Provisioner ICA 1',
    device: 'GH100 A01 GSP',
    model: 'GH100',
    serialPrefix: 0x41,
    firmwareId: 'composite-device-id',
  },
  GB100: {
    identity: 'GB100',
    provisioner: 'GB100 Provisioner ICA 00000',
    device: 'GB100 A01 GSP',
    model: 'GB100',
    serialPrefix: 0x41,
    firmwareId: 'tcb-info',
  },
  GB202: {
    identity: 'GB20X',
    provisioner: 'GB202 Provisioner ICA 00000',
    device: 'GB20X A01 GSP',
    model: 'GB20X',
    serialPrefix: 0x41,
    firmwareId: 'tcb-info',
  },
  LS10: {
    identity: 'GH100',
    provisioner: 'LS_10 Provisioner ICA 1',
    device: 'LS_10 A01 FSP',
    model: 'LS_10',
    serialPrefix: 0x50,
    firmwareId: 'composite-device-id',
  },
} as const satisfies Readonly<Record<string, Chip>>;

export type SimulatedChip = keyof typeof CHIPS;
export const SIMULATED_CHIPS = Object.keys(CHIPS) as readonly SimulatedChip[];

/** Which device a certificate is for. What is not given is random. */
export interface DeviceDescription {
  readonly chip: SimulatedChip;
  /** The number by which other devices know it over NVLink, 8 bytes. */
  readonly pdi?: Uint8Array;
  /** SHA-384 of the firmware that its signing key stands for, 48 bytes; `null` leaves the extension out. */
  readonly firmwareId?: Uint8Array | null;
  /** Whether the firmware can be debugged; Blackwell alone says so. */
  readonly isDebug?: boolean;
  /** The part of the chip whose keys these are, for example `FSP`; by default the one that answers for it. */
  readonly engine?: 'GSP' | 'FSP';
}

/** A device's boot ROM key and the keys that it certifies. */
export interface DeviceKeys {
  readonly chip: SimulatedChip;
  readonly pdi: Uint8Array;
  /** The number in the leaf's subjectAltName, 8 bytes; it is not the PDI. */
  readonly unitNumber: Uint8Array;
  readonly firmwareId: Uint8Array | null;
  readonly brom: CertifiedKey;
  readonly leaf: CertifiedKey;
}

const PDI_BYTES = 8;
/** NVIDIA's block of EUI-48 numbers. */
const UNIT_NUMBER_PREFIX = [0x48, 0xb0, 0x2d] as const;
const FIRMWARE_ID_BYTES = 48;
const LEAF_SERIAL_BYTES = 20;
/** Room for verifiers whose clock is a little behind. */
const CLOCK_SKEW_SECONDS = 3600;

const DEVICE_ROOT_NAME: NameAttributes = [
  ['CN', 'NVIDIA Device Identity CA'],
  ['O', 'NVIDIA'],
];
const CORPORATION = 'NVIDIA Corporation';

export class SimulatedNvidia {
  readonly root: CertifiedKey;
  /** POSIX seconds. */
  private readonly madeAt: number;
  private readonly identities: ReadonlyMap<string, CertifiedKey>;
  private readonly provisioners: ReadonlyMap<SimulatedChip, CertifiedKey>;

  private constructor(
    madeAt: number,
    root: CertifiedKey,
    identities: ReadonlyMap<string, CertifiedKey>,
    provisioners: ReadonlyMap<SimulatedChip, CertifiedKey>,
  ) {
    this.madeAt = madeAt;
    this.root = root;
    this.identities = identities;
    this.provisioners = provisioners;
  }

  /** Makes a hierarchy with keys of its own. @param posixSeconds the present */
  static async create(posixSeconds: number): Promise<SimulatedNvidia> {
    const request = (name: NameAttributes): CertificateRequest => ({
      name,
      ...endless(posixSeconds),
      extensions: [authority(), keyUsage(AUTHORITY_USAGE)],
    });
    const root = await certify(request(DEVICE_ROOT_NAME));
    const identities = new Map<string, CertifiedKey>();
    const provisioners = new Map<SimulatedChip, CertifiedKey>();
    for (const chip of SIMULATED_CHIPS) {
      const { identity, provisioner } = CHIPS[chip];
      const issuer = identities.get(identity) ?? (await certify(request(identityName(identity)), root));
      identities.set(identity, issuer);
      provisioners.set(chip, await certify(request(provisionerName(provisioner)), issuer));
    }
    return new SimulatedNvidia(posixSeconds, root, identities, provisioners);
  }

  /** Every key that issues certificates; those of boot ROMs are not among them. */
  get issuers(): readonly CertifiedKey[] {
    return [this.root, ...this.identities.values(), ...this.provisioners.values()];
  }

  /** Makes the keys of a device, from its boot ROM to the one that signs reports. */
  async certifyDevice(description: DeviceDescription): Promise<DeviceKeys> {
    const { chip, pdi = random(PDI_BYTES) } = description;
    const { device, serialPrefix } = CHIPS[chip];
    const engine = description.engine === undefined ? device : device.replace(/[GF]SP$/, description.engine);
    const serialNumber = Uint8Array.of(serialPrefix, ...pdi);
    const brom = await certify(
      {
        name: deviceName(serialNumber, `${engine} BROM`),
        serialNumber,
        ...endless(this.madeAt),
        extensions: [authority(), keyUsage(CERTIFICATE_USAGE)],
      },
      this.provisionerOf(chip),
    );
    const unitNumber = Uint8Array.of(...UNIT_NUMBER_PREFIX, ...random(PDI_BYTES - UNIT_NUMBER_PREFIX.length));
    return await this.certifyFirmware(
      { chip, pdi, unitNumber, brom },
      { ...description, engineName: engine },
    );
  }

  /** The device after a change of firmware: the same boot ROM key certifies another one. */
  async updateFirmware(device: DeviceKeys, firmwareId: Uint8Array): Promise<DeviceKeys> {
    return await this.certifyFirmware(device, { firmwareId, engineName: CHIPS[device.chip].device });
  }

  /** The device's certificates as it gives them: leaf, boot ROM, provisioner, identity, root. DER. */
  chainOf({ chip, brom, leaf }: DeviceKeys): readonly Uint8Array[] {
    return [leaf, brom, ...this.issuersOf(chip)].map(({ certificate }) => certificate);
  }

  /** The authorities above a device's boot ROM: provisioner, identity, root. */
  issuersOf(chip: SimulatedChip): readonly CertifiedKey[] {
    const identity = this.identities.get(CHIPS[chip].identity);
    return [this.provisionerOf(chip), ...(identity === undefined ? [] : [identity]), this.root];
  }

  private provisionerOf(chip: SimulatedChip): CertifiedKey {
    return this.provisioners.get(chip) ?? this.root;
  }

  private async certifyFirmware(
    { chip, pdi, unitNumber, brom }: Omit<DeviceKeys, 'firmwareId' | 'leaf'>,
    { firmwareId = random(FIRMWARE_ID_BYTES), engineName, isDebug = false }: FirmwareDescription,
  ): Promise<DeviceKeys> {
    const serialNumber = random(LEAF_SERIAL_BYTES);
    serialNumber[0] = 0x40 | ((serialNumber[0] ?? 0) & 0x3f);
    const { firmwareId: form, model } = CHIPS[chip];
    const firmware = { firmwareId, engineName, isDebug, deviceKey: publicKeyOf(brom.key) };
    const named = firmwareId === null ? [] : [firmwareIdExtension(form, { ...firmware, firmwareId })];
    const extensions = [keyUsage(SIGNATURE_USAGE), alternativeName(model, unitNumber), ...named];
    const name = deviceName(serialNumber, `${engineName} FMC LF`);
    const leaf = await certify({ name, serialNumber, ...endless(this.madeAt), extensions }, brom);
    return { chip, pdi, unitNumber, firmwareId, brom, leaf };
  }
}

interface FirmwareDescription extends Pick<DeviceDescription, 'firmwareId' | 'isDebug'> {
  readonly engineName: string;
}

function endless(madeAt: number): { readonly notBefore: number; readonly notAfter: number } {
  return { notBefore: madeAt - CLOCK_SKEW_SECONDS, notAfter: NO_END };
}

function random(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(randomBytes(length));
}

function identityName(identity: string): NameAttributes {
  return [
    ['CN', `NVIDIA ${identity} Identity`],
    ['O', CORPORATION],
  ];
}

function provisionerName(provisioner: string): NameAttributes {
  return [
    ['CN', `NVIDIA ${provisioner}`],
    ['O', CORPORATION],
    ['C', 'US'],
  ];
}

function deviceName(serialNumber: Uint8Array, commonName: string): NameAttributes {
  return [
    ['serialNumber', toHex(serialNumber).toUpperCase()],
    ['C', 'US'],
    ['O', CORPORATION],
    ['CN', commonName],
  ];
}

/** id-DMTF-device-info (DSP0274 1.1, table 33): maker, product and serial number. */
function alternativeName(model: string, unitNumber: Uint8Array): der.DerValue {
  const text = der.utf8Text(`NVIDIA:${model}:${toHex(unitNumber).toUpperCase()}`);
  const other = der.explicit(0, der.objectIdentifier('1.3.6.1.4.1.412.274.1'), der.explicit(0, text));
  return extension('2.5.29.17', der.toDer(der.sequence(other)));
}
