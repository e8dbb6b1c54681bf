/**
 * A program for tests: opens a bundle, closes it again, then searches its own memory for plaintext and keys. It gets
 * what it searches for with every bit inverted and compares inverted copies, so that it never finds its own question.
 */

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

import { KeyMemory } from '../../native/memory/key-memory.ts';
import { offHeapBytes } from '../../native/memory/mapping.ts';
import { SealedBundle } from '../../src/sealed/reader.ts';
import { unseal } from '../../src/sealed/unseal.ts';

const BLOCK_BYTES = 4 * 1024 * 1024;

function invert(bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = (bytes[i] ?? 0) ^ 0xff;
}

/** Private memory of this process in bytes, without memory files. */
function privateBytes(): number {
  return Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) * 1024;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

function readableRanges(): readonly Range[] {
  const lines = readFileSync('/proc/self/maps', 'latin1').split('\n');
  return lines.flatMap((line) => {
    const match = /^([0-9a-f]+)-([0-9a-f]+) rw.. /.exec(line);
    if (match === null) return [];
    return [{ start: Number.parseInt(match[1] ?? '', 16), end: Number.parseInt(match[2] ?? '', 16) }];
  });
}

/** How often each inverted pattern stands, not inverted, in writable memory. */
function countInMemory(invertedPatterns: readonly Buffer[]): number[] {
  const counts = invertedPatterns.map(() => 0);
  const block = Buffer.alloc(BLOCK_BYTES);
  const memory = openSync('/proc/self/mem', 'r');
  for (const { start, end } of readableRanges()) {
    for (let at = start; at < end; at += BLOCK_BYTES - 64) {
      const length = readSome(memory, block, Math.min(BLOCK_BYTES, end - at), at);
      invert(block.subarray(0, length));
      for (const [i, pattern] of invertedPatterns.entries()) {
        if (block.subarray(0, length).includes(pattern)) counts[i] = (counts[i] ?? 0) + 1;
      }
      block.fill(0);
    }
  }
  closeSync(memory);
  return counts;
}

/** Memory that the kernel hides cannot be read, and is none that leaks. */
function readSome(memory: number, block: Buffer, length: number, at: number): number {
  try {
    return readSync(memory, block, 0, length, at);
  } catch {
    return 0;
  }
}

const [folder = '', digest = '', invertedKeyHex = '', invertedMarkerHex = '', way] = process.argv.slice(2);
const patterns = [Buffer.from(invertedMarkerHex, 'hex'), Buffer.from(invertedKeyHex, 'hex')];

const key = offHeapBytes(patterns[1]?.length ?? 0);
key.set(patterns[1] ?? []);
invert(key);
const modelKey = KeyMemory.take(key);
const bundle = await SealedBundle.open(folder, { digest });
const before = privateBytes();
let peak = before;
const onProgress = (): void => {
  peak = Math.max(peak, privateBytes());
};
const unsealed = await unseal(bundle, modelKey, { threads: 2, onProgress, portable: way === 'portable' });
const whileOpen = countInMemory(patterns);
unsealed.close();
modelKey.close();
const [marker, keys] = countInMemory(patterns);
process.stdout.write(
  JSON.stringify({
    way: unsealed.way,
    markerWhileOpen: whileOpen[0],
    marker,
    keys,
    overheadBytes: peak - before,
  }),
);
