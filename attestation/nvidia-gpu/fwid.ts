/**
 * The firmware that a leaf certificate stands for (FWID): its key exists only where firmware with this digest runs. Hopper
 * and switches write TCG's compositeDeviceID, Blackwell DiceTcbInfo (TCG DICE Attestation Architecture, chapter 6). Both are
 * read whole, as DER.
 */

import { toHex } from '../core/bytes.ts';
import {
  bitStringOf,
  contentOf,
  contextTag,
  objectIdentifierOf,
  readElement,
  smallIntegerOf,
  Tag,
} from '../core/der.ts';
import type { DerReader } from '../core/der.ts';
import type { Certificate } from '../core/x509.ts';
import type { FirmwareIdForm } from './chips.ts';
import { badExtension } from './device-certificates.ts';

export interface FirmwareId {
  /** SHA-384 of the firmware, 48 bytes. */
  readonly digest: Uint8Array;
  /** The device's own key (SubjectPublicKeyInfo), where the form names it. */
  readonly deviceKey: Uint8Array | undefined;
  /** Whether the firmware could be debugged, where the form says so. */
  readonly isDebug: boolean | undefined;
}

const COMPOSITE_DEVICE_ID = '2.23.133.5.4.1';
const TCB_INFO = '2.23.133.5.4.1.1';
const SHA_384 = '2.16.840.1.101.3.4.2.2';
const DIGEST_BYTES = 48;

/**
 * Reads the extension of one form.
 *
 * @throws RefusalError `gpu-certificate-extension`, `der-*`
 */
export function readFirmwareId(certificate: Certificate, form: FirmwareIdForm, path: string): FirmwareId {
  const [identifier, read] =
    form === 'tcb-info' ? [TCB_INFO, readTcbInfo] : [COMPOSITE_DEVICE_ID, readCompositeDeviceId];
  const extension = certificate.extensions.get(identifier);
  if (extension !== undefined) return read(extension.value, `${path}.${identifier}`);
  throw badExtension(path, identifier, 'no such extension');
}

/** SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid FWID }. */
function readCompositeDeviceId(value: Uint8Array, path: string): FirmwareId {
  const reader = contentOf(readElement(value, Tag.sequence, path));
  const version = smallIntegerOf(reader.next(Tag.integer, 'version'));
  const deviceKey = reader.next(Tag.sequence, 'deviceID').encoded;
  const digest = readFwid(reader, path);
  reader.end();
  if (version !== 1) throw badExtension(path, 'version 1', `version ${version}`);
  return { digest, deviceKey, isDebug: undefined };
}

/** Members of DiceTcbInfo by the number of their tag, all of which are there. */
const TCB_INFO_TEXTS = [0, 1, 2, 3, 4, 5] as const;
const FWIDS = 6;
const FLAGS = 7;
const TCB_INFO_REST = [8, 9] as const;
/** OperationalFlags, by the number of the bit. */
const DEBUG_FLAG = 3;

/** The first FWID is that of the firmware; a second one, all zeros on every known device, is of what came before it. */
function readTcbInfo(value: Uint8Array, path: string): FirmwareId {
  const reader = contentOf(readElement(value, Tag.sequence, path));
  for (const tag of TCB_INFO_TEXTS) reader.next(contextTag(tag, 'primitive'), `[${tag}]`);
  const fwids = contentOf(reader.next(contextTag(FWIDS, 'constructed'), 'fwids'));
  const digest = readFwid(fwids, path);
  while (!fwids.isAtEnd) readFwid(fwids, path);
  const flags = bitStringOf(reader.next(contextTag(FLAGS, 'primitive'), 'flags')).bytes;
  for (const tag of TCB_INFO_REST) reader.next(contextTag(tag, 'primitive'), `[${tag}]`);
  reader.end();
  return { digest, deviceKey: undefined, isDebug: ((flags[0] ?? 0) & (0x80 >> DEBUG_FLAG)) !== 0 };
}

/** SEQUENCE { hashAlg OBJECT IDENTIFIER, digest OCTET STRING }. */
function readFwid(reader: DerReader, path: string): Uint8Array {
  const fwid = contentOf(reader.next(Tag.sequence, 'fwid'));
  const algorithm = objectIdentifierOf(fwid.next(Tag.objectIdentifier, 'hashAlg'));
  const digest = fwid.next(Tag.octetString, 'digest').content;
  fwid.end();
  if (algorithm === SHA_384 && digest.length === DIGEST_BYTES) return digest;
  throw badExtension(path, 'SHA-384 and 48 bytes', `${algorithm} and ${toHex(digest.subarray(0, 16))}`);
}
