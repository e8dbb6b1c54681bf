/** The model of the road: the tiny one that answers, with a pattern planted in its weights by which they are known. */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { readGguf } from '../../src/sealed/gguf.ts';

const GENERATOR = join(import.meta.dirname, '..', '..', 'scripts', 'tiny-model', 'main.ts');
export const MODEL_FILE = 'model.gguf';

/** A block of Q8_0 is a scale of two bytes and 32 signed bytes: under a scale of zero they mean nothing. */
const BLOCK_BYTES = 34;
const SCALE_BYTES = 2;

/** Makes the model folder. @returns the planted pattern, 32 random bytes */
export async function makeMarkedModel(folder: string): Promise<Uint8Array> {
  const pattern = randomBytes(BLOCK_BYTES - SCALE_BYTES);
  await promisify(execFile)(process.execPath, ['--no-warnings', GENERATOR, '--directory', folder]);
  await plantInZeroBlock(join(folder, MODEL_FILE), pattern);
  await plantAtEnd(join(folder, 'token_topics.safetensors'), pattern);
  const marker = Buffer.concat([randomBytes(5000), pattern, randomBytes(5000)]);
  await writeFile(join(folder, 'marker.bin'), marker);
  return pattern;
}

/** Writes the pattern over the values of a block whose scale is zero, which leaves the model as it is. */
async function plantInZeroBlock(path: string, pattern: Uint8Array): Promise<void> {
  const file = await readFile(path);
  const read = (offset: number, length: number): Promise<Uint8Array> =>
    Promise.resolve(file.subarray(offset, offset + length));
  const zeros = file.indexOf(new Uint8Array(2 * BLOCK_BYTES), Math.floor(file.length / 2));
  const tensors = await readGguf(path, file.length, read);
  const tensor = tensors.find(({ offset, bytes }) => offset <= zeros && zeros < offset + bytes);
  if (tensor?.type !== 'Q8_0') throw new Error(`${path} has no zero block to plant a pattern in`);
  const block = tensor.offset + Math.ceil((zeros - tensor.offset) / BLOCK_BYTES) * BLOCK_BYTES;
  await overwrite(path, block + SCALE_BYTES, pattern);
}

async function plantAtEnd(path: string, pattern: Uint8Array): Promise<void> {
  const { length } = await readFile(path);
  await overwrite(path, length - pattern.length, pattern);
}

async function overwrite(path: string, position: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(bytes, 0, bytes.length, position);
  } finally {
    await file.close();
  }
}
