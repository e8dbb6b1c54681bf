/** How the certificate of a signing key says which firmware it stands for (TCG DICE Attestation Architecture, chapter 6). */

import { toUtf8 } from '../../../attestation/core/bytes.ts';
import { extension } from './certificate-parts.ts';
import * as der from './der-writer.ts';

/** TCG's compositeDeviceID, of Hopper and NVSwitch, or DiceTcbInfo, of Blackwell. */
export type FirmwareIdForm = 'composite-device-id' | 'tcb-info';

export interface CertifiedFirmware {
  /** SHA-384 of the firmware, 48 bytes. */
  readonly firmwareId: Uint8Array;
  /** The processor on the chip that runs it, for example `GB100 A01 GSP`. */
  readonly engineName: string;
  readonly isDebug: boolean;
  /** Of the boot ROM: SubjectPublicKeyInfo, DER. */
  readonly deviceKey: Uint8Array;
}

export function firmwareIdExtension(form: FirmwareIdForm, firmware: CertifiedFirmware): der.DerValue {
  return form === 'tcb-info' ? tcbInfo(firmware) : compositeDeviceId(firmware);
}

/** Version, the key of the device, its firmware. */
function compositeDeviceId({ firmwareId, deviceKey }: CertifiedFirmware): der.DerValue {
  const value = der.sequence(der.integer(1), der.encoded(deviceKey), firmwareDigest(firmwareId));
  return extension('2.23.133.5.4.1', der.toDer(value));
}

/** Flags of production firmware, and of firmware that can be debugged: 32 bits, as the number of unused ones and four bytes. */
const PRODUCTION_FLAGS = Uint8Array.of(0, 0x80, 0, 0, 1);
const DEBUG_FLAGS = Uint8Array.of(0, 0x90, 0, 0, 1);

/** Vendor, model, version, security version, layer, index, firmware and what came before, flags, vendor's information, type. */
function tcbInfo({ firmwareId, engineName, isDebug }: CertifiedFirmware): der.DerValue {
  const value = der.sequence(
    der.implicit(0, toUtf8('NVIDIA')),
    der.implicit(1, toUtf8(engineName)),
    der.implicit(2, toUtf8('01')),
    der.implicit(3, Uint8Array.of(1)),
    der.implicit(4, Uint8Array.of(0)),
    der.implicit(5, Uint8Array.of(0)),
    der.explicit(6, firmwareDigest(firmwareId), firmwareDigest(new Uint8Array(48))),
    der.implicit(7, isDebug ? DEBUG_FLAGS : PRODUCTION_FLAGS),
    der.implicit(8, Uint8Array.of(0xc0)),
    der.implicit(9, Uint8Array.of(0)),
  );
  return extension('2.23.133.5.4.1.1', der.toDer(value));
}

/** FWID: the algorithm, which is SHA-384, and the digest. */
function firmwareDigest(firmwareId: Uint8Array): der.DerValue {
  return der.sequence(der.objectIdentifier('2.16.840.1.101.3.4.2.2'), der.octetString(firmwareId));
}
