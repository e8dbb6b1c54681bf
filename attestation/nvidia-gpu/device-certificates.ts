/**
 * What the two certificates of a device say: that of the boot ROM (BROM), which stays for the life of the chip, and that of
 * the firmware (the leaf), whose key signs reports. Facts only: whether they are authentic is for chain.ts.
 */

import { excerpt, fromHex, toHex } from '../core/bytes.ts';
import { contentOf, contextTag, objectIdentifierOf, readElement, Tag, textOf } from '../core/der.ts';
import { NameAttribute, nameAttributes } from '../core/distinguished-name.ts';
import { defineRefusals } from '../core/refusal.ts';
import { ExtensionId } from '../core/x509.ts';
import type { Certificate } from '../core/x509.ts';

export const deviceCertificateRefusals = defineRefusals('malformed', {
  'gpu-certificate-name': {
    means: 'A certificate of a device is not named as NVIDIA names those of GPUs and switches.',
    hint: 'Send the chain that NVML or NSCQ gives: leaf, boot ROM, provisioner, identity, root.',
  },
  'gpu-certificate-extension': {
    means: 'An extension of a device’s certificate holds something that NVIDIA does not write.',
    hint: 'Send the chain that NVML or NSCQ gives, unaltered.',
  },
});

/** What names and extensions of the leaf claim. */
export interface LeafFacts {
  readonly certificate: Certificate;
  /** As in `GH100`. */
  readonly family: string;
  /** As in `A01`. */
  readonly stepping: string;
  /** As in `GSP`. */
  readonly engine: string;
  /** 20 bytes in hex; NVIDIA's tokens call it ueid. It changes with the firmware. */
  readonly serialNumber: string;
}

/** What names and serial number of the boot ROM's certificate claim. */
export interface BootRomFacts {
  readonly certificate: Certificate;
  readonly family: string;
  readonly stepping: string;
  readonly engine: string;
  /** Which part of the chip it is; the first byte of the serial number. */
  readonly serialPrefix: number;
  /** The device's number on NVLink, 8 bytes: the rest of the serial number. */
  readonly pdi: Uint8Array;
}

const SERIAL_NUMBER_ATTRIBUTE = '2.5.4.5';
const DEVICE_NAME = /^([A-Z]{2}[0-9A-Z_]{2,6}) ([A-Z][0-9]{2}) ([A-Z]{2,6}) (FMC LF|BROM)$/;
const BROM_SERIAL_BYTES = 9;

/** @throws RefusalError `gpu-certificate-*`, `certificate-name`, `der-*` */
export function readLeaf(certificate: Certificate, path: string): LeafFacts {
  const { family, stepping, engine, serialNumber } = deviceName(certificate, 'FMC LF', path);
  const model = alternativeModel(certificate, path);
  if (model !== family) throw badExtension(`${path}.subjectAltName`, `NVIDIA:${family}`, model);
  return { certificate, family, stepping, engine, serialNumber };
}

/** @throws RefusalError `gpu-certificate-name`, `certificate-name`, `der-*` */
export function readBootRom(certificate: Certificate, path: string): BootRomFacts {
  const { family, stepping, engine, serialNumber } = deviceName(certificate, 'BROM', path);
  const [serialPrefix = 0, ...pdi] = fromHex(serialNumber, path);
  if (pdi.length !== BROM_SERIAL_BYTES - 1) {
    throw badName(path, `a serial number of ${BROM_SERIAL_BYTES} bytes`, serialNumber);
  }
  return { certificate, family, stepping, engine, serialPrefix, pdi: Uint8Array.from(pdi) };
}

interface DeviceName {
  readonly family: string;
  readonly stepping: string;
  readonly engine: string;
  /** Hex. */
  readonly serialNumber: string;
}

/** The common name, and the serial number, which stands in the name and as the number of the certificate. */
function deviceName(certificate: Certificate, level: 'FMC LF' | 'BROM', path: string): DeviceName {
  const attributes = nameAttributes(certificate.subject, `${path}.subject`);
  const commonName = attributes.get(NameAttribute.commonName) ?? 'no common name';
  const [, family = '', stepping = '', engine = '', found] = DEVICE_NAME.exec(commonName) ?? [];
  if (found !== level) throw badName(path, `(chip) (stepping) (engine) ${level}`, commonName);
  const serialNumber = toHex(certificate.serialNumber);
  const named = attributes.get(SERIAL_NUMBER_ATTRIBUTE) ?? 'none';
  if (named !== serialNumber.toUpperCase()) throw badName(path, serialNumber.toUpperCase(), named);
  return { family, stepping, engine, serialNumber };
}

/** id-DMTF-device-info (DSP0274 1.1, section "Leaf certificate"): maker, product and serial number. */
const DMTF_DEVICE_INFO = '1.3.6.1.4.1.412.274.1';
const DEVICE_INFO = /^NVIDIA:([0-9A-Z_]{2,16}):[0-9A-F]{16}$/;

function alternativeModel(certificate: Certificate, path: string): string {
  const field = `${path}.subjectAltName`;
  const value = certificate.extensions.get(ExtensionId.subjectAltName)?.value;
  if (value === undefined) throw badExtension(field, 'an otherName', 'no such extension');
  const names = contentOf(readElement(value, Tag.sequence, field));
  const other = contentOf(names.next(contextTag(0, 'constructed'), 'otherName'));
  names.end();
  const type = objectIdentifierOf(other.next(Tag.objectIdentifier, 'type'));
  const wrapper = contentOf(other.next(contextTag(0, 'constructed'), 'value'));
  other.end();
  const text = textOf(wrapper.next(Tag.utf8String, 'text'));
  wrapper.end();
  const model = DEVICE_INFO.exec(text)?.[1];
  if (type === DMTF_DEVICE_INFO && model !== undefined) return model;
  throw badExtension(field, `${DMTF_DEVICE_INFO} with maker, product and number`, `${type} ${text}`);
}

export function badExtension(field: string, expected: string, found: string): Error {
  const facts = { field, expected, found: excerpt(found) };
  return deviceCertificateRefusals.error('gpu-certificate-extension', facts);
}

function badName(path: string, expected: string, found: string): Error {
  const facts = { field: `${path}.subject`, expected, found: excerpt(found) };
  return deviceCertificateRefusals.error('gpu-certificate-name', facts);
}
