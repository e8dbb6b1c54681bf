/**
 * What names a machine (docs/spec/sev-snp.md, section 5). A VCEK belongs to one chip: the chip's identifier names it.
 * A VLEK belongs to a whole fleet and its reports name no chip: there the guest itself is named, by its REPORT_ID, which
 * the firmware draws at random for each guest and keeps for its life, together with the provider that vouches.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { paddedLabel } from '../core/binding.ts';
import { concatBytes, toUtf8 } from '../core/bytes.ts';
import { encode, fixedBytes, structure } from '../core/layout.ts';

const CHIP_LABEL = paddedLabel('weightgate/sev-snp/chip/v1');
const GUEST_LABEL = paddedLabel('weightgate/sev-snp/guest/v1');

export const CHIP_ID_BYTES = 64;

const chipLayout = structure({ label: fixedBytes(32), chipId: fixedBytes(CHIP_ID_BYTES) });
const guestLayout = structure({
  label: fixedBytes(32),
  cspIdDigest: fixedBytes(32),
  reportId: fixedBytes(32),
});

/** The identifier of a chip as CHIP_ID has it: Turin's 8 bytes are followed by zeros. */
export function chipIdOf(hardwareId: Uint8Array): Uint8Array {
  return concatBytes(hardwareId, new Uint8Array(CHIP_ID_BYTES - hardwareId.length));
}

/** Identity of a chip, 32 bytes. @param chipId 64 bytes; see {@link chipIdOf} */
export function chipIdentity(chipId: Uint8Array): Uint8Array {
  return sha256(encode(chipLayout, { label: CHIP_LABEL, chipId }, 'identity'));
}

/** Identity of a guest whose report a provider's key signed, 32 bytes. @param reportId 32 bytes */
export function guestIdentity(cspId: string, reportId: Uint8Array): Uint8Array {
  const members = { label: GUEST_LABEL, cspIdDigest: sha256(toUtf8(cspId)), reportId };
  return sha256(encode(guestLayout, members, 'identity'));
}
