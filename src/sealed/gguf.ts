/**
 * A strict reader of GGUF headers (ggml-org/ggml, docs/gguf.md), versions 2 and 3, little-endian. Values of metadata
 * are passed over; only the alignment is used.
 */

import { equalBytes, toUtf8 } from '../../attestation/core/bytes.ts';
import { HeaderCursor, WINDOW_BYTES } from './gguf-cursor.ts';
import { checkCoverage, refuseWeights, type ReadRange, type TensorEntry } from './tensors.ts';

/** SW-25. */
const MAX_TENSORS = 65_536;
const MAX_METADATA = 65_536;

const MAGIC = toUtf8('GGUF');
const MAX_KEY_BYTES = 65_535;
const MAX_TENSOR_NAME_BYTES = 64;
const MAX_DIMENSIONS = 4;
const DEFAULT_ALIGNMENT = 32;
const MIN_ALIGNMENT = 8;
const MAX_ALIGNMENT = 65_536;

/** Types of metadata values. */
const UINT32 = 4;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;
/** Bytes of the values of fixed size, by type. */
const VALUE_BYTES = new Map([
  [0, 1],
  [1, 1],
  [2, 2],
  [3, 2],
  [UINT32, 4],
  [5, 4],
  [6, 4],
  [BOOL, 1],
  [10, 8],
  [11, 8],
  [12, 8],
]);

/** Element types: name, elements of a block, bytes of a block (ggml.h `ggml_type`, ggml-common.h). */
const ELEMENT_TYPES: ReadonlyMap<number, readonly [string, number, number]> = new Map([
  [0, ['F32', 1, 4]],
  [1, ['F16', 1, 2]],
  [2, ['Q4_0', 32, 18]],
  [3, ['Q4_1', 32, 20]],
  [6, ['Q5_0', 32, 22]],
  [7, ['Q5_1', 32, 24]],
  [8, ['Q8_0', 32, 34]],
  [9, ['Q8_1', 32, 36]],
  [10, ['Q2_K', 256, 84]],
  [11, ['Q3_K', 256, 110]],
  [12, ['Q4_K', 256, 144]],
  [13, ['Q5_K', 256, 176]],
  [14, ['Q6_K', 256, 210]],
  [15, ['Q8_K', 256, 292]],
  [16, ['IQ2_XXS', 256, 66]],
  [17, ['IQ2_XS', 256, 74]],
  [18, ['IQ3_XXS', 256, 98]],
  [19, ['IQ1_S', 256, 50]],
  [20, ['IQ4_NL', 32, 18]],
  [21, ['IQ3_S', 256, 110]],
  [22, ['IQ2_S', 256, 82]],
  [23, ['IQ4_XS', 256, 136]],
  [24, ['I8', 1, 1]],
  [25, ['I16', 1, 2]],
  [26, ['I32', 1, 4]],
  [27, ['I64', 1, 8]],
  [28, ['F64', 1, 8]],
  [29, ['IQ1_M', 256, 56]],
  [30, ['BF16', 1, 2]],
  [34, ['TQ1_0', 256, 54]],
  [35, ['TQ2_0', 256, 66]],
  [39, ['MXFP4', 32, 17]],
  [40, ['NVFP4', 64, 36]],
  [41, ['Q1_0', 128, 18]],
  [42, ['Q2_0', 64, 18]],
]);

/**
 * Reads the header and checks that its tensors are the whole rest of the file.
 *
 * @param path for refusals
 * @param fileBytes size of the file
 * @throws RefusalError `weights-*`, `utf8-malformed`
 */
export async function readGguf(
  path: string,
  fileBytes: number,
  read: ReadRange,
): Promise<readonly TensorEntry[]> {
  const cursor = new HeaderCursor(path, fileBytes, read);
  if (!equalBytes(await cursor.take(MAGIC.length), MAGIC)) {
    refuseWeights('weights-header-malformed', path, 'the magic number GGUF', 'something else');
  }
  const version = await cursor.u32();
  if (version !== 2 && version !== 3) {
    refuseWeights('weights-header-malformed', path, 'version 2 or 3, little-endian', `${version}`);
  }
  const tensorCount = await boundedCount(cursor, 'tensors', MAX_TENSORS);
  const metadataCount = await boundedCount(cursor, 'metadata pairs', MAX_METADATA);
  const alignment = await passMetadata(cursor, metadataCount);
  const claimed = await readTensors(cursor, tensorCount);
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = claimed.map((tensor) => ({ ...tensor, offset: dataStart + tensor.offset }));
  checkCoverage(path, tensors, { dataStart, fileBytes, alignment });
  return tensors;
}

async function boundedCount(cursor: HeaderCursor, what: string, most: number): Promise<number> {
  const count = await cursor.u64();
  if (count > most) {
    refuseWeights('weights-header-too-large', cursor.path, `at most ${most} ${what}`, `${count}`);
  }
  return count;
}

/** @returns the alignment that the metadata ask for */
async function passMetadata(cursor: HeaderCursor, count: number): Promise<number> {
  const keys = new Set<string>();
  let alignment = DEFAULT_ALIGNMENT;
  for (let i = 0; i < count; i += 1) {
    const key = await cursor.text(MAX_KEY_BYTES);
    refuseSecond(cursor, keys, key);
    const type = await cursor.u32();
    if (key === 'general.alignment') alignment = await readAlignment(cursor, type);
    else if (type === ARRAY) await passArray(cursor);
    else await passValue(cursor, type);
  }
  return alignment;
}

function refuseSecond(cursor: HeaderCursor, names: Set<string>, name: string): void {
  if (names.has(name)) {
    refuseWeights('weights-duplicate-name', `${cursor.path}:${name}`, 'a name once', 'a second time');
  }
  names.add(name);
}

async function readAlignment(cursor: HeaderCursor, type: number): Promise<number> {
  const alignment = type === UINT32 ? await cursor.u32() : 0;
  const isPowerOfTwo = alignment > 0 && (alignment & (alignment - 1)) === 0;
  if (isPowerOfTwo && alignment >= MIN_ALIGNMENT && alignment <= MAX_ALIGNMENT) return alignment;
  return refuseWeights(
    'weights-header-malformed',
    `${cursor.path}:general.alignment`,
    `a power of two from ${MIN_ALIGNMENT} to ${MAX_ALIGNMENT}`,
    `${alignment}`,
  );
}

async function passValue(cursor: HeaderCursor, type: number): Promise<void> {
  if (type === STRING) cursor.skip(await cursor.u64());
  else await passFixed(cursor, type, 1);
}

/** Arrays of arrays are allowed by the format and written by nobody; readers differ on them. */
async function passArray(cursor: HeaderCursor): Promise<void> {
  const type = await cursor.u32();
  const length = await cursor.u64();
  if (type === STRING) await cursor.skipStrings(length);
  else await passFixed(cursor, type, length);
}

/** The format calls a truth value other than 0 and 1 invalid, and readers differ on it. */
async function passFixed(cursor: HeaderCursor, type: number, count: number): Promise<void> {
  const bytes = count * fixedValueBytes(cursor, type);
  cursor.require(bytes);
  if (type !== BOOL) {
    cursor.skip(bytes);
    return;
  }
  for (let left = bytes; left > 0; left -= Math.min(left, WINDOW_BYTES)) {
    const values = await cursor.take(Math.min(left, WINDOW_BYTES));
    if (values.every((value) => value <= 1)) continue;
    refuseWeights('weights-header-malformed', cursor.path, 'truth values of 0 or 1', 'another byte');
  }
}

function fixedValueBytes(cursor: HeaderCursor, type: number): number {
  const bytes = VALUE_BYTES.get(type);
  if (bytes !== undefined) return bytes;
  return refuseWeights('weights-header-malformed', cursor.path, 'a known type of value', `type ${type}`);
}

/** @returns tensors whose offsets are still counted from the start of the data */
async function readTensors(cursor: HeaderCursor, count: number): Promise<readonly TensorEntry[]> {
  const names = new Set<string>();
  const tensors: TensorEntry[] = [];
  for (let i = 0; i < count; i += 1) {
    const name = await cursor.text(MAX_TENSOR_NAME_BYTES);
    refuseSecond(cursor, names, name);
    const shape = await readShapeOf(cursor, name);
    const [type, bytes] = tensorBytes(`${cursor.path}:${name}`, shape, await cursor.u32());
    tensors.push({ name, type, shape, offset: await cursor.u64(), bytes });
  }
  return tensors;
}

async function readShapeOf(cursor: HeaderCursor, name: string): Promise<readonly number[]> {
  const dimensions = await cursor.u32();
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
    const expected = `1 to ${MAX_DIMENSIONS} dimensions`;
    refuseWeights('weights-tensor-malformed', `${cursor.path}:${name}`, expected, `${dimensions}`);
  }
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i += 1) shape.push(await cursor.u64());
  return shape;
}

/** A row, the first dimension, is made of whole blocks. */
function tensorBytes(
  field: string,
  shape: readonly number[],
  typeNumber: number,
): readonly [type: string, bytes: number] {
  const element = ELEMENT_TYPES.get(typeNumber);
  if (element === undefined) {
    return refuseWeights('weights-tensor-malformed', field, 'a known element type', `type ${typeNumber}`);
  }
  const [type, blockElements, blockBytes] = element;
  const elements = shape.reduce((product, size) => product * size, 1);
  const bytes = (elements / blockElements) * blockBytes;
  if ((shape[0] ?? 0) % blockElements !== 0 || !Number.isSafeInteger(elements * blockBytes)) {
    refuseWeights(
      'weights-tensor-malformed',
      field,
      `rows of whole ${type} blocks below 2^53`,
      'another shape',
    );
  }
  return [type, bytes];
}
