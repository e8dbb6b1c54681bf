/**
 * Records of the boot event log as declared layouts (TCG "PC Client Platform Firmware Profile", section 10): the form of
 * TPM 1.2, TCG_PCR_EVENT, in which every log begins, and the crypto-agile form, TCG_PCR_EVENT2. All integers are
 * little-endian. Firmware, boot loaders and the system that keeps the log write them, and whoever is root can change
 * them: a log is worth what its replay against a quote says.
 */

import {
  constantBytes,
  counted,
  dependent,
  fixedBytes,
  littleEndian,
  refuseTag,
  sizedBytes,
  structure,
} from '../../core/layout.ts';
import type { Layout, ValueOf } from '../../core/layout.ts';
import { toUtf8 } from '../../core/bytes.ts';

const { u8, u16, u32 } = littleEndian;

/** The largest that was seen is a revocation list of some tens of kilobytes. */
const MAX_EVENT_BYTES = 1024 * 1024;
/** A TPM has fewer banks than this. */
const MAX_ALGORITHMS = 8;
export const SHA1_BYTES = 20;

/** TCG_PCR_EVENT. */
export const legacyRecord = structure({
  pcr: u32(),
  type: u32(),
  digest: fixedBytes(SHA1_BYTES),
  data: sizedBytes(u32({ max: MAX_EVENT_BYTES })),
});
export type LegacyRecord = ValueOf<typeof legacyRecord>;

export const SPEC_ID_SIGNATURE = toUtf8('Spec ID Event03\0');

/** TCG_EfiSpecIdEventStruct: the data of the first record of a crypto-agile log. */
export const specIdEvent = structure({
  signature: constantBytes(SPEC_ID_SIGNATURE),
  platformClass: u32({ max: 1 }),
  versionMinor: u8(),
  versionMajor: u8({ oneOf: [2] }),
  errata: u8(),
  uintnSize: u8({ oneOf: [1, 2] }),
  algorithms: counted(
    u32({ max: MAX_ALGORITHMS }),
    structure({ algorithm: u16(), digestBytes: u16({ max: 64 }) }),
  ),
  vendorInfo: sizedBytes(u8()),
});
export type SpecIdEvent = ValueOf<typeof specIdEvent>;

export interface TaggedDigest {
  readonly algorithm: number;
  readonly digest: Uint8Array;
}

export interface AgileRecord {
  readonly pcr: number;
  readonly type: number;
  readonly digests: readonly TaggedDigest[];
  readonly data: Uint8Array;
}

/**
 * TCG_PCR_EVENT2 with the digest lengths that the log's first record states. A record may lack the digest of a bank that
 * was not active; it cannot be replayed there.
 */
export function agileRecord({ algorithms }: SpecIdEvent): Layout<AgileRecord> {
  const known = algorithms.map(({ algorithm }) => algorithm);
  const digest = dependent(({ algorithm }, path) => {
    const declared = algorithms.find((entry) => entry.algorithm === algorithm);
    return fixedBytes((declared ?? refuseTag(path, known, algorithm)).digestBytes);
  });
  return structure({
    pcr: u32(),
    type: u32(),
    digests: counted(
      u32({ oneOf: known.map((_, i) => i + 1) }),
      structure({ algorithm: u16({ oneOf: known }), digest }),
    ),
    data: sizedBytes(u32({ max: MAX_EVENT_BYTES })),
  });
}
