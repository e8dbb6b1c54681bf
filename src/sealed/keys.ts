/** The key schedule of a bundle (docs/spec/sealed-weights.md section 3). Keys stay in key memory. */

import { createHash } from 'node:crypto';

import { equalBytes, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { encode } from '../../attestation/core/layout.ts';
import { deriveHkdfSha256 } from '../../native/memory/hkdf.ts';
import { KeyMemory } from '../../native/memory/key-memory.ts';
import {
  AEAD_NUMBER,
  CHUNK_BYTES,
  COMMITMENT_LABEL,
  commitmentInfoLayout,
  FILE_KEY_LABEL,
  fileKeyInfoLayout,
  KEY_BYTES,
  nonceLayout,
} from './layout.ts';
import { sealedInauthentic, sealedUsage } from './refusals.ts';

function derive(modelKey: KeyMemory, salt: Uint8Array, info: Uint8Array, target: bigint | Uint8Array): void {
  if (modelKey.bytes !== KEY_BYTES) {
    throw sealedUsage.error('sealed-key-length', {
      field: 'modelKey',
      expected: `${KEY_BYTES} bytes`,
      found: `${modelKey.bytes} bytes`,
    });
  }
  deriveHkdfSha256({ key: modelKey.address, keyBytes: KEY_BYTES, salt, info }, target, KEY_BYTES);
}

/** SW-10. Public: it stands in the manifest. */
export function deriveKeyCommitment(modelKey: KeyMemory, salt: Uint8Array): Uint8Array {
  const info = encode(commitmentInfoLayout, { label: COMMITMENT_LABEL, aead: AEAD_NUMBER }, 'commitmentInfo');
  const commitment = new Uint8Array(KEY_BYTES);
  derive(modelKey, salt, info, commitment);
  return commitment;
}

/** @throws RefusalError `sealed-key-wrong` */
export function checkKeyCommitment(modelKey: KeyMemory, salt: Uint8Array, committed: Uint8Array): void {
  const found = deriveKeyCommitment(modelKey, salt);
  if (equalBytes(found, committed)) return;
  throw sealedInauthentic.error('sealed-key-wrong', {
    field: 'modelKey',
    expected: `the key of commitment ${toHex(committed)}`,
    found: `a key of commitment ${toHex(found)}`,
  });
}

/**
 * The keys of several files (SW-11), 32 bytes each, one after another. The caller closes the memory.
 *
 * @throws RefusalError `memory-*`
 */
export function deriveFileKeys(
  modelKey: KeyMemory,
  salt: Uint8Array,
  files: readonly { readonly path: string; readonly bytes: number }[],
): KeyMemory {
  const keys = KeyMemory.allocate(files.length * KEY_BYTES);
  for (const [i, file] of files.entries()) {
    const target = keys.address + BigInt(i * KEY_BYTES);
    derive(modelKey, salt, fileKeyInfo(file.path, file.bytes), target);
  }
  return keys;
}

function fileKeyInfo(path: string, fileBytes: number): Uint8Array {
  return encode(
    fileKeyInfoLayout,
    {
      label: FILE_KEY_LABEL,
      aead: AEAD_NUMBER,
      chunkBytes: CHUNK_BYTES,
      fileBytes: BigInt(fileBytes),
      pathDigest: createHash('sha256').update(toUtf8(path)).digest(),
    },
    'fileKeyInfo',
  );
}

/** SW-7. */
export function chunkNonce(index: number, isLast: boolean): Uint8Array {
  return encode(nonceLayout, { index: BigInt(index), last: isLast ? 1 : 0 }, 'nonce');
}
