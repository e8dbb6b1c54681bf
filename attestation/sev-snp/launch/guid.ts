/**
 * GUIDs as UEFI stores them ("EFI_GUID", UEFI Specification, appendix A): the first three groups of the printed form
 * are little-endian integers, the rest are bytes.
 */

import { concatBytes, fromHex } from '../../core/bytes.ts';

/** The 16 bytes of a GUID that is printed as `8-4-4-4-12` lower-case hexadecimal digits. */
export function guid(text: string): Uint8Array<ArrayBuffer> {
  const [first, second, third, ...rest] = text.split('-').map((group) => fromHex(group, 'guid'));
  const groups = [first, second, third].map((group) => (group ?? new Uint8Array()).toReversed());
  return concatBytes(...groups, ...rest);
}
