/** The file of authentication tags (docs/spec/sealed-weights.md section 4). */

import { createHash } from 'node:crypto';

import { concatBytes, equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { decode, encode } from '../../attestation/core/layout.ts';
import {
  AEAD_NUMBER,
  CHUNK_BYTES,
  FORMAT_VERSION,
  TAG_BYTES,
  TAGS_HEADER_BYTES,
  TAGS_MAGIC,
  TAGS_PATH,
  tagsHeaderLayout,
} from './layout.ts';
import type { ManifestContents, TrustedManifest } from './manifest.ts';
import { sealedInauthentic, sealedMalformed } from './refusals.ts';
import type { BundleSource } from './source/source.ts';

/** What the header of the tags repeats of the manifest. */
type TagsContext = Pick<ManifestContents, 'salt' | 'keyCommitment' | 'files'>;

export function totalChunks(files: readonly { readonly chunks: number }[]): number {
  return files.reduce((sum, { chunks }) => sum + chunks, 0);
}

/** The whole file. @param tags of all chunks, in the order of SW-12 */
export function encodeTags(context: TagsContext, tags: Uint8Array): Uint8Array {
  const header = {
    magic: TAGS_MAGIC,
    version: FORMAT_VERSION,
    aead: AEAD_NUMBER,
    chunkBytes: CHUNK_BYTES,
    fileCount: context.files.length,
    tagCount: BigInt(totalChunks(context.files)),
    salt: context.salt,
    keyCommitment: context.keyCommitment,
  };
  return concatBytes(encode(tagsHeaderLayout, header, TAGS_PATH), tags);
}

/**
 * Reads and checks the tags that a manifest names (SW-13).
 *
 * @returns the tags alone
 * @throws RefusalError `sealed-tags-*`, `layout-*`, and of the source
 */
export async function readTags(
  source: BundleSource,
  manifest: TrustedManifest,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const expectedBytes = TAGS_HEADER_BYTES + TAG_BYTES * totalChunks(manifest.files);
  const content = await source.readSmall(TAGS_PATH, expectedBytes, signal);
  if (content?.length !== expectedBytes) {
    throw sealedMalformed.error('sealed-tags-length', {
      field: TAGS_PATH,
      expected: `${expectedBytes} bytes`,
      found: content === undefined ? 'more' : `${content.length} bytes`,
    });
  }
  checkContent(content, manifest);
  return content.subarray(TAGS_HEADER_BYTES);
}

function checkContent(content: Uint8Array, manifest: TrustedManifest): void {
  const found = createHash('sha256').update(content).digest('hex');
  if (found !== manifest.tagsSha256) {
    throw sealedInauthentic.error('sealed-tags-digest', {
      field: TAGS_PATH,
      expected: manifest.tagsSha256,
      found,
    });
  }
  const header = decode(tagsHeaderLayout, content.subarray(0, TAGS_HEADER_BYTES), TAGS_PATH);
  const agrees: Readonly<Record<string, boolean>> = {
    fileCount: header.fileCount === manifest.files.length,
    tagCount: header.tagCount === BigInt(totalChunks(manifest.files)),
    salt: equalBytes(header.salt, manifest.salt),
    keyCommitment: equalBytes(header.keyCommitment, manifest.keyCommitment),
  };
  for (const [member, agreed] of Object.entries(agrees)) {
    if (agreed) continue;
    throw sealedInauthentic.error('sealed-tags-disagree', {
      field: `${TAGS_PATH}.${member}`,
      expected: 'the value of the manifest',
      found: `a header of ${toHex(content.subarray(16, 40))}`,
    });
  }
}

/** @param index of the chunk over all files of the bundle, in manifest order */
export function tagAt(tags: Uint8Array, index: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(tags.subarray(TAG_BYTES * index, TAG_BYTES * (index + 1)));
}
