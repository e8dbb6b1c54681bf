/**
 * What names a device: its boot ROM's key and serial number. The leaf certificate changes with firmware and driver, so
 * that one GPU has several in its life; this name stays.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes } from '../core/bytes.ts';
import type { Certificate } from '../core/x509.ts';

/** SHA-256 over the serial number and the SubjectPublicKeyInfo of the boot ROM's certificate, 32 bytes. */
export function deviceIdentity(
  bootRom: Pick<Certificate, 'serialNumber' | 'subjectPublicKeyInfo'>,
): Uint8Array {
  return sha256(concatBytes(bootRom.serialNumber, bootRom.subjectPublicKeyInfo));
}
