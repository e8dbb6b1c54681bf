/** NV indices as a verifier knows them: the public area (Part 2, section 13.5) and the Name that follows from it. */

import { bigEndian, encode, structure, type ValueOf } from '../core/layout.ts';
import { digestSized } from './layout.ts';
import { nameFrom } from './name.ts';

const { u16, u32 } = bigEndian;

/** TPMA_NV (Part 2, section 13.4): the bits that this project sets or looks at. */
export const NvIndexAttribute = {
  ownerWrite: 1 << 1,
  authWrite: 1 << 2,
  /** TPM_NT_COUNTER in the field of the type: eight bytes that can only be incremented. */
  counter: 1 << 4,
  /** TPM_NT_EXTEND in the same field: a digest that can only be extended, as a PCR is, and outlives a reset. */
  extend: 4 << 4,
  authRead: 1 << 18,
  noDA: 1 << 25,
  written: 1 << 29,
} as const;

/** TPMS_NV_PUBLIC. */
export const nvPublicArea = structure({
  index: u32(),
  nameAlgorithm: u16(),
  attributes: u32(),
  authPolicy: digestSized,
  dataBytes: u16(),
});
export type NvPublicArea = ValueOf<typeof nvPublicArea>;

/** The Name of an index. It changes with the first write, by the attribute `written`. @throws RefusalError `tpm-hash` */
export function computeNvName(area: NvPublicArea): Uint8Array {
  return nameFrom(area.nameAlgorithm, encode(nvPublicArea, area, 'nvPublic'));
}
