/** Opens the same bundle with node:crypto in one thread, as a program without native code would. */

import { createDecipheriv } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { KeyMemory } from '../../native/memory/key-memory.ts';
import { SecretMemory, type MemoryBacking } from '../../native/memory/secret-memory.ts';
import { chunkNonce, deriveFileKeys } from '../../src/sealed/keys.ts';
import { CHUNK_BYTES, chunkLength } from '../../src/sealed/layout.ts';
import { SealedBundle, type IndexedFile } from '../../src/sealed/reader.ts';
import { tagAt } from '../../src/sealed/tags.ts';
import { readMemory } from '../support/memory.ts';
import { moduleArguments, report } from '../support/program.ts';
import type { OpenArguments } from './open-process.ts';
import { requireSame } from './same.ts';

export interface NodeCryptoReport {
  readonly seconds: number;
  readonly bytes: number;
  readonly backing: MemoryBacking;
  readonly besideBytes: number;
}

/** What is read and decrypted at once. */
const SLICE_BYTES = 1024 * 1024;

function openFile(
  bundle: SealedBundle,
  file: IndexedFile,
  source: number,
  key: Uint8Array,
  memory: SecretMemory,
) {
  const target = memory.writeTarget.fileDescriptor;
  const slice = new Uint8Array(SLICE_BYTES);
  const plaintext = Buffer.alloc(CHUNK_BYTES);
  for (let index = 0; index < file.chunks; index += 1) {
    const length = chunkLength(file.bytes, index);
    const nonce = chunkNonce(index, index === file.chunks - 1);
    const cipher = createDecipheriv('aes-256-gcm', key, nonce).setAuthTag(
      tagAt(bundle.tags, file.firstTag + index),
    );
    for (let at = 0; at < length;) {
      const wanted = Math.min(SLICE_BYTES, length - at);
      const count = readSync(source, slice, 0, wanted, index * CHUNK_BYTES + at);
      plaintext.set(cipher.update(slice.subarray(0, count)), at);
      at += count;
    }
    cipher.final();
    writeSync(target, plaintext, 0, length, index * CHUNK_BYTES);
  }
}

const { folder, manifestDigest, modelKeyFile, expected } = moduleArguments() as OpenArguments;
const bundle = await SealedBundle.open(folder, { digest: manifestDigest });
const [file] = bundle.files.values();
if (file === undefined) throw new Error('the bundle is empty');
const modelKey = KeyMemory.take(readFileSync(modelKeyFile));
const keys = deriveFileKeys(modelKey, bundle.manifest.salt, bundle.manifest.files);
const source = openSync(join(folder, file.path), 'r');
const startedAt = performance.now();
const memory = SecretMemory.allocate(file.bytes, 'node-crypto');
keys.use((key) => {
  openFile(bundle, file, source, key, memory);
});
const seconds = (performance.now() - startedAt) / 1000;
const after = readMemory('self');
if (expected !== undefined) requireSame(expected, (offset, length) => memory.read(offset, length));
report({
  seconds,
  bytes: file.bytes,
  backing: memory.backing,
  besideBytes: after === undefined ? 0 : after.peak - after.shared,
} satisfies NodeCryptoReport);
memory.close();
keys.close();
modelKey.close();
closeSync(source);
