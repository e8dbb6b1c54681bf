/**
 * Names of TPM objects (Part 1, section 16). A Name is always computed here from the public area: never taken from
 * whoever presents the object.
 */

import { concatBytes } from '../core/bytes.ts';
import { bigEndian, decode, encode, remainingBytes, structure } from '../core/layout.ts';
import { tpmHash } from './hash.ts';
import { publicArea } from './layout.ts';
import type { PublicArea } from './layout.ts';

/** Permanent handles (Part 2, section 7.4). As the qualified Name of a hierarchy stands its handle. */
export const Hierarchy = {
  owner: 0x40000001,
  null: 0x40000007,
  endorsement: 0x4000000b,
  platform: 0x4000000c,
} as const;

const nameLayout = structure({ algorithm: bigEndian.u16(), digest: remainingBytes() });

/** The Name of an object. @throws RefusalError `tpm-hash` for a name algorithm that is not accepted */
export function computeName(area: PublicArea): Uint8Array {
  return nameFrom(area.nameAlgorithm, encode(publicArea, area, 'publicArea'));
}

/** The Name of what stands in `bytes`: its algorithm and then the digest. @throws RefusalError `tpm-hash` */
export function nameFrom(algorithm: number, bytes: Uint8Array): Uint8Array {
  const digest = tpmHash(algorithm, 'nameAlgorithm').digest(bytes);
  return encode(nameLayout, { algorithm, digest }, 'name');
}

/** The qualified Name of a hierarchy. */
export function hierarchyName(hierarchy: number): Uint8Array {
  return encode(bigEndian.u32(), hierarchy, 'hierarchy');
}

/**
 * The qualified Name of an object below a parent.
 *
 * @param parent qualified Name of the parent, or {@link hierarchyName}
 * @param name Name of the object; its algorithm is that of the result
 * @throws RefusalError `tpm-hash`, `layout-truncated`
 */
export function computeQualifiedName(parent: Uint8Array, name: Uint8Array): Uint8Array {
  const { algorithm } = decode(nameLayout, name, 'name');
  return nameFrom(algorithm, concatBytes(parent, name));
}
