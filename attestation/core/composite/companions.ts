/**
 * What ties the devices of one machine together (docs/spec/composite.md, section 1): the device whose signature binds
 * companions signs a digest over the evidence of all others. There is one form: a device without companions signs the
 * digest of the empty list, so that a verifier computes one value and never tries several.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { deviceLabel, paddedLabel } from '../binding.ts';
import { toHex } from '../bytes.ts';
import { bigEndian, constantBytes, counted, encode, fixedBytes, structure } from '../layout.ts';

/** Devices of one bundle (EV-1), less the one that signs. */
const MAX_COMPANIONS = 31;

const COMPANIONS_LABEL = paddedLabel('weightgate/companions/v1');

const companionLayout = structure({
  deviceLabel: fixedBytes(32),
  identity: fixedBytes(32),
  evidenceDigest: fixedBytes(32),
});

const companionsLayout = structure({
  label: constantBytes(COMPANIONS_LABEL),
  companions: counted(bigEndian.u32({ max: MAX_COMPANIONS }), companionLayout),
});

/** A device as the others know it. */
export interface Companion {
  readonly deviceClass: string;
  /** 32 bytes. */
  readonly identity: Uint8Array;
  /** SHA-256 of the canonical bytes of its member `evidence` in the bundle, as sent; 32 bytes. */
  readonly evidenceDigest: Uint8Array;
}

/**
 * SHA-256 over all companions, 32 bytes. Their order in the bundle carries no meaning: they are hashed in the order of
 * their bytes.
 *
 * @throws RefusalError `layout-value` for more than 31 companions and for members of other lengths
 */
export function computeCompanionsDigest(companions: readonly Companion[]): Uint8Array {
  const members = companions
    .map(({ deviceClass, identity, evidenceDigest }) => {
      const member = { deviceLabel: deviceLabel(deviceClass), identity, evidenceDigest };
      return { member, place: toHex(encode(companionLayout, member, 'companion')) };
    })
    .sort((left, right) => (left.place < right.place ? -1 : 1))
    .map(({ member }) => member);
  const value = { label: COMPANIONS_LABEL, companions: members };
  return sha256(encode(companionsLayout, value, 'companions'));
}

/** What a device signs that is alone in its machine. */
export const NO_COMPANIONS: Uint8Array = computeCompanionsDigest([]);
