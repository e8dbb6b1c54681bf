/**
 * The ratchet of a TPM (docs/spec/lease-clock.md, section 3): an NV index of type extend, which only moves forwards,
 * keeps its value over a reset, and cannot be brought to a wanted value. Its whole public area is fixed here, so that
 * the Name that the TPM certifies says all about it.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes, toUtf8 } from '../../core/bytes.ts';
import { Algorithm } from '../layout.ts';
import { computeNvName, NvIndexAttribute, type NvPublicArea } from '../nv-index.ts';

/** Value of the ratchet, and of each step by which it moves. */
export const RATCHET_BYTES = 32;

/** What the index has before it was first extended (Part 3, section 31.9). */
export const RATCHET_START = new Uint8Array(RATCHET_BYTES);

/** In the range that Part 2, section 7.2 leaves to owners. */
const RATCHET_INDEX = 0x01805747;

/**
 * As it is defined: whoever may use the TPM may read and extend it, nobody can write it. There is no password that an
 * agent could keep to itself, because it has nowhere to keep one.
 */
export const RATCHET_AREA: NvPublicArea = {
  index: RATCHET_INDEX,
  nameAlgorithm: Algorithm.sha256,
  attributes:
    NvIndexAttribute.extend | NvIndexAttribute.authWrite | NvIndexAttribute.authRead | NvIndexAttribute.noDA,
  authPolicy: new Uint8Array(0),
  dataBytes: RATCHET_BYTES,
};

/** The Name under which a ratchet is certified: of the index after its first extension. */
export const RATCHET_NAME: Uint8Array = computeNvName({
  ...RATCHET_AREA,
  attributes: RATCHET_AREA.attributes | NvIndexAttribute.written,
});

const STEP_LABEL = toUtf8('weightgate/tpm-ratchet/v1');

/**
 * The step that belongs to one challenge: nobody knows it before the server has drawn its nonce.
 *
 * @param deviceValue from `computeDeviceValue`, 32 bytes
 */
export function ratchetStep(deviceValue: Uint8Array): Uint8Array {
  return sha256(concatBytes(STEP_LABEL, deviceValue));
}

/** What TPM2_NV_Extend makes of a value. */
export function extendRatchet(value: Uint8Array, step: Uint8Array): Uint8Array {
  return sha256(concatBytes(value, step));
}
