/** Chains of devices in which every certificate may be made wrongly, each signed by the one above it all the same. */

import type { KeyObject } from 'node:crypto';

import { toHex } from '../../../attestation/core/bytes.ts';
import { extension, publicKeyOf } from '../../../src/agent/simulated/certificate-parts.ts';
import * as der from '../../../src/agent/simulated/der-writer.ts';
import {
  authority,
  AUTHORITY_USAGE,
  CERTIFICATE_USAGE,
  certify,
  keyUsage,
  NO_END,
  SIGNATURE_USAGE,
} from '../../../src/agent/simulated/nvidia-certificates.ts';
import type {
  CertificateRequest,
  CertifiedKey,
  NameAttributes,
} from '../../../src/agent/simulated/nvidia-certificates.ts';
import { firmwareIdExtension } from '../../../src/agent/simulated/nvidia-firmware-id.ts';

export const MADE_AT = Date.UTC(2026, 0, 1) / 1000;
export const FIRMWARE_ID = new Uint8Array(48).fill(0x5a);
const PDI = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const LEAF_SERIAL = new Uint8Array(20).fill(0x55);

/** What may be other than on a genuine device. */
export interface ChainChanges {
  readonly root?: Partial<CertificateRequest>;
  readonly identity?: Partial<CertificateRequest>;
  readonly provisioner?: Partial<CertificateRequest>;
  readonly bootRom?: Partial<CertificateRequest>;
  readonly leaf?: Partial<CertificateRequest>;
  /** `(family) (stepping) (engine)`, of the boot ROM and of the leaf. */
  readonly deviceName?: string;
  readonly leafName?: string;
  /** Content of the leaf's otherName. */
  readonly deviceInfo?: string;
  /** The extension with the firmware's digest. */
  readonly firmware?: der.DerValue;
  /** A root that is made otherwise. */
  readonly madeRoot?: CertifiedKey;
}

export interface MadeChain {
  /** DER, from the leaf to the root. */
  readonly certificates: readonly Uint8Array[];
  readonly leafKey: KeyObject;
  readonly bootRom: CertifiedKey;
  readonly root: Uint8Array;
}

const VALIDITY = { notBefore: MADE_AT, notAfter: NO_END } as const;
const ISSUING = [authority(), keyUsage(AUTHORITY_USAGE)] as const;

function cn(commonName: string): NameAttributes {
  return [['CN', commonName]];
}

export function deviceName(serialNumber: Uint8Array, commonName: string): NameAttributes {
  return [
    ['serialNumber', toHex(serialNumber).toUpperCase()],
    ['CN', commonName],
  ];
}

/** id-DMTF-device-info as an otherName. */
export function deviceInfo(text: string, type = '1.3.6.1.4.1.412.274.1'): der.DerValue {
  const other = der.explicit(0, der.objectIdentifier(type), der.explicit(0, der.utf8Text(text)));
  return extension('2.5.29.17', der.toDer(der.sequence(other)));
}

export async function makeChain(changes: ChainChanges = {}): Promise<MadeChain> {
  const { deviceName: device = 'GH100 A01 GSP', leafName = device } = changes;
  const request = (name: NameAttributes, change: Partial<CertificateRequest> = {}): CertificateRequest => ({
    ...{ name, ...VALIDITY, extensions: ISSUING },
    ...change,
  });
  const root = changes.madeRoot ?? (await certify(request(cn('A root of devices'), changes.root)));
  const identity = await certify(request(cn('An identity'), changes.identity), root);
  const provisioner = await certify(request(cn('A provisioner'), changes.provisioner), identity);
  const serialNumber = Uint8Array.of(0x41, ...PDI);
  const bootRom = await certify(
    {
      ...request(deviceName(serialNumber, `${device} BROM`)),
      ...{ serialNumber, extensions: [authority(), keyUsage(CERTIFICATE_USAGE)] },
      ...changes.bootRom,
    },
    provisioner,
  );
  const firmware = changes.firmware ?? compositeDeviceId(bootRom);
  const info = deviceInfo(changes.deviceInfo ?? `NVIDIA:${device.split(' ')[0]}:48B02D0000000001`);
  const leaf = await certify(
    {
      ...request(deviceName(LEAF_SERIAL, `${leafName} FMC LF`)),
      ...{ serialNumber: LEAF_SERIAL, extensions: [keyUsage(SIGNATURE_USAGE), info, firmware] },
      ...changes.leaf,
    },
    bootRom,
  );
  const made = [leaf, bootRom, provisioner, identity, root];
  return {
    certificates: made.map(({ certificate }) => certificate),
    leafKey: leaf.key,
    bootRom,
    root: root.certificate,
  };
}

/** The firmware of {@link FIRMWARE_ID} on the device of a boot ROM. */
function compositeDeviceId(bootRom: CertifiedKey): der.DerValue {
  return firmwareIdExtension('composite-device-id', {
    firmwareId: FIRMWARE_ID,
    engineName: 'GSP',
    isDebug: false,
    deviceKey: publicKeyOf(bootRom.key),
  });
}
