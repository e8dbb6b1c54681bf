/** The binary structures of sealed bundles (docs/spec/sealed-weights.md sections 2 to 4). */

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { bigEndian, constantBytes, fixedBytes, reserved, structure } from '../../attestation/core/layout.ts';

export const FORMAT_VERSION = 1;
export const AEAD_NAME = 'aes-256-gcm';
export const AEAD_NUMBER = 1;
export const CHUNK_BYTES = 4 * 1024 * 1024;
export const TAG_BYTES = 16;
/** SHA-256. */
export const DIGEST_BYTES = 32;
export const KEY_BYTES = 32;
export const SALT_BYTES = 32;

/** SW-5. */
export const MAX_FILES = 65_536;
export const MAX_BUNDLE_BYTES = 2 ** 46;
export const MAX_MANIFEST_BYTES = 32 * 1024 * 1024;

export const MANIFEST_PATH = 'weightgate.manifest.json';
export const TAGS_PATH = 'weightgate.tags';

const LABEL_BYTES = 32;

function paddedAscii(text: string, length: number): Uint8Array {
  const padded = new Uint8Array(length);
  padded.set(toUtf8(text));
  return padded;
}

export const COMMITMENT_LABEL = paddedAscii('weightgate/sealed/commitment/v1', LABEL_BYTES);
export const FILE_KEY_LABEL = paddedAscii('weightgate/sealed/file/v1', LABEL_BYTES);
export const TAGS_MAGIC = paddedAscii('weightgate/tags', 16);

const { u8, u32, u64 } = bigEndian;

/** SW-7. */
export const nonceLayout = structure({ unused: reserved(3), index: u64(), last: u8({ oneOf: [0, 1] }) });

/** SW-10. */
export const commitmentInfoLayout = structure({
  label: constantBytes(COMMITMENT_LABEL),
  aead: u32({ oneOf: [AEAD_NUMBER] }),
});

/** SW-11. */
export const fileKeyInfoLayout = structure({
  label: constantBytes(FILE_KEY_LABEL),
  aead: u32({ oneOf: [AEAD_NUMBER] }),
  chunkBytes: u32({ oneOf: [CHUNK_BYTES] }),
  fileBytes: u64(),
  pathDigest: fixedBytes(32),
});

export const TAGS_HEADER_BYTES = 128;

/** SW-12. */
export const tagsHeaderLayout = structure({
  magic: constantBytes(TAGS_MAGIC),
  version: u32({ oneOf: [FORMAT_VERSION] }),
  aead: u32({ oneOf: [AEAD_NUMBER] }),
  chunkBytes: u32({ oneOf: [CHUNK_BYTES] }),
  fileCount: u32({ max: MAX_FILES }),
  tagCount: u64(),
  salt: fixedBytes(SALT_BYTES),
  keyCommitment: fixedBytes(32),
  unused: reserved(24),
});

/** How many chunks a file of so many bytes has; an empty file has one (SW-6). */
export function chunkCount(fileBytes: number): number {
  return Math.max(1, Math.ceil(fileBytes / CHUNK_BYTES));
}

/** How many bytes the chunk of this index holds. */
export function chunkLength(fileBytes: number, index: number): number {
  return Math.min(CHUNK_BYTES, fileBytes - index * CHUNK_BYTES);
}
