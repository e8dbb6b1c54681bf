/**
 * Records of the measurement list of Linux's Integrity Measurement Architecture, in the binary form of
 * `binary_runtime_measurements` (Linux, Documentation/security/IMA-templates.rst). Integers are little-endian, as the
 * kernel writes them with `ima_canonical_fmt` or on such a machine.
 */

import { fixedBytes, littleEndian, remainingBytes, sizedBytes, structure } from '../../core/layout.ts';
import type { ValueOf } from '../../core/layout.ts';

const { u32 } = littleEndian;

export const SHA1_BYTES = 20;
/** A path, a digest and a signature. */
const MAX_FIELD_BYTES = 16 * 1024;

export const imaRecord = structure({
  pcr: u32({ max: 23 }),
  templateDigest: fixedBytes(SHA1_BYTES),
  template: sizedBytes(u32({ max: 16 })),
  data: sizedBytes(u32({ max: 3 * MAX_FIELD_BYTES })),
});
export type ImaRecord = ValueOf<typeof imaRecord>;

const field = sizedBytes(u32({ max: MAX_FIELD_BYTES }));

/** Template data of `ima-ng`: the file's digest behind the name of its algorithm, and its path with a final zero. */
export const imaNgData = structure({ digest: field, path: field });

/** Template data of `ima-sig`: the same and a signature, which may be empty. */
export const imaSigData = structure({ digest: field, path: field, signature: field });

/** One record and what follows it. */
export const nextImaRecord = structure({ record: imaRecord, rest: remainingBytes() });
