/**
 * ID block and the keys that sign it (AMD 56860, "ID_BLOCK structure" and "ECDSA P-384 public key" of the chapter on
 * signature formats). The owner signs the block, the host hands it over at launch, and the firmware refuses a guest
 * whose measurement or policy is another. Reports then name the SHA-384 of the keys.
 */

import { sha384 } from '@noble/hashes/sha2.js';

import { decode, encode, fixedBytes, littleEndian, reserved, structure } from '../../core/layout.ts';
import type { ValueOf } from '../../core/layout.ts';
import { publicKeyRefusals } from '../../core/public-key.ts';
import type { PublicKey } from '../../core/public-key.ts';
import { DIGEST_BYTES } from './page-info.ts';

const { u32, u64 } = littleEndian;

const ID_BLOCK_VERSION = 1;

const idBlock = structure({
  measurement: fixedBytes(DIGEST_BYTES),
  familyId: fixedBytes(16),
  imageId: fixedBytes(16),
  version: u32({ oneOf: [ID_BLOCK_VERSION] }),
  guestSvn: u32(),
  policy: u64(),
});

/** What an owner says of a guest. `policy` is the POLICY that the guest must be launched with. */
export type IdBlock = Omit<ValueOf<typeof idBlock>, 'version'>;

/** Reads the 96 bytes of an ID block. @throws RefusalError `layout-*` */
export function readIdBlock(bytes: Uint8Array, path = 'idBlock'): IdBlock {
  const { measurement, familyId, imageId, guestSvn, policy } = decode(idBlock, bytes, path);
  return { measurement, familyId, imageId, guestSvn, policy };
}

/** Writes what {@link readIdBlock} reads. @throws RefusalError `layout-value` */
export function writeIdBlock(block: IdBlock): Uint8Array {
  return encode(idBlock, { ...block, version: ID_BLOCK_VERSION }, 'idBlock');
}

/** Curve identifier of P-384. */
const CURVE_P384 = 2;
const COORDINATE_BYTES = 48;

/** 0x404 bytes. Coordinates are little-endian in fields of 72 bytes. */
const ecdsaPublicKey = structure({
  curve: u32({ oneOf: [CURVE_P384] }),
  x: fixedBytes(COORDINATE_BYTES),
  reserved0: reserved(72 - COORDINATE_BYTES),
  y: fixedBytes(COORDINATE_BYTES),
  reserved1: reserved(72 - COORDINATE_BYTES),
  reserved2: reserved(0x404 - 0x94),
});

/**
 * What a report says as ID_KEY_DIGEST or AUTHOR_KEY_DIGEST when this key signed: 48 bytes.
 *
 * @throws RefusalError `public-key-unsupported` for any but an ECDSA key on P-384
 */
export function idKeyDigest(key: PublicKey, field: string): Uint8Array {
  if (key.type !== 'ec' || key.curve !== 'P-384') {
    throw publicKeyRefusals.error('public-key-unsupported', {
      field,
      expected: 'an ECDSA key on P-384',
      found: key.type === 'ec' ? key.curve : 'an RSA key',
    });
  }
  const form = { curve: CURVE_P384, x: key.x.toReversed(), y: key.y.toReversed() };
  return sha384(encode(ecdsaPublicKey, form, field));
}
