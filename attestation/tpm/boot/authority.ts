/** Certificates in the records of authorities: by whose signature something was started. */

import { readElement, Tag } from '../../core/der.ts';
import { isRefusal } from '../../core/refusal.ts';
import type { BootAuthority } from '../event-log/secure-boot.ts';

/** EFI_SIGNATURE_DATA begins with the GUID of who put it into the list. */
const OWNER_BYTES = 16;

/**
 * The certificate of an authority whose digest covers it, DER. The firmware measures an entry of its list, shim a certificate
 * alone; other authorities are hashes or texts.
 */
export function certificateOf({ variable }: BootAuthority): Uint8Array | undefined {
  if (variable === undefined) return undefined;
  return [variable.data.subarray(OWNER_BYTES), variable.data].find(isOneSequence);
}

/** Whether it is a whole structure of DER. What is in it does not matter: it is named by its digest. */
function isOneSequence(bytes: Uint8Array): boolean {
  try {
    readElement(bytes, Tag.sequence, 'authority');
    return true;
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}
