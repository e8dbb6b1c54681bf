/**
 * A strict reader of GGUF headers (ggml-org/ggml, docs/gguf.md), versions 2 and 3, little-endian. Values of metadata
 * are passed over; only the alignment is used.
 */

import { equalBytes, fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { decode, littleEndian } from '../../attestation/core/layout.ts';
import { checkCoverage, refuseWeights, type ReadRange, type TensorEntry } from './tensors.ts';

/** SW-25. */
const MAX_HEADER_BYTES = 64 * 1024 * 1024;
const MAX_TENSORS = 65_536;
const MAX_METADATA = 65_536;

const MAGIC = toUtf8('GGUF');
const MAX_KEY_BYTES = 65_535;
const MAX_TENSOR_NAME_BYTES = 64;
const MAX_DIMENSIONS = 4;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 65_536;
const WINDOW_BYTES = 256 * 1024;

/** Types of metadata values. */
const UINT32 = 4;
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
  [7, 1],
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
]);

/** A position in the header, with a window of the file around it. All numbers in it come from the file. */
class HeaderCursor {
  readonly path: string;
  readonly #read: ReadRange;
  readonly #limit: number;
  readonly #isWholeFile: boolean;
  #window: Uint8Array = new Uint8Array();
  #windowStart = 0;
  #position = 0;

  constructor(path: string, fileBytes: number, read: ReadRange) {
    this.path = path;
    this.#read = read;
    this.#limit = Math.min(fileBytes, MAX_HEADER_BYTES);
    this.#isWholeFile = fileBytes <= MAX_HEADER_BYTES;
  }

  get position(): number {
    return this.#position;
  }

  skip(length: number): void {
    if (this.#position + length > this.#limit) {
      const code = this.#isWholeFile ? 'weights-header-malformed' : 'weights-header-too-large';
      refuseWeights(
        code,
        this.path,
        `a header within ${this.#limit} bytes`,
        `${length} bytes at ${this.#position}`,
      );
    }
    this.#position += length;
  }

  async take(length: number): Promise<Uint8Array> {
    const start = this.#position;
    this.skip(length);
    if (start < this.#windowStart || this.#position > this.#windowStart + this.#window.length) {
      this.#windowStart = start;
      this.#window = await this.#read(start, Math.min(Math.max(length, WINDOW_BYTES), this.#limit - start));
    }
    return this.#window.subarray(start - this.#windowStart, this.#position - this.#windowStart);
  }

  async u32(): Promise<number> {
    return decode(littleEndian.u32(), await this.take(4), this.path);
  }

  async u64(): Promise<number> {
    const value = decode(littleEndian.u64(), await this.take(8), this.path);
    if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    return refuseWeights('weights-header-malformed', this.path, 'a number below 2^53', value.toString());
  }

  async text(maxBytes: number): Promise<string> {
    const length = await this.u64();
    if (length > maxBytes) {
      refuseWeights(
        'weights-header-malformed',
        this.path,
        `a name of at most ${maxBytes} bytes`,
        `${length}`,
      );
    }
    return fromUtf8(await this.take(length), this.path);
  }
}

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
  if (isPowerOfTwo && alignment <= MAX_ALIGNMENT) return alignment;
  return refuseWeights(
    'weights-header-malformed',
    `${cursor.path}:general.alignment`,
    `a power of two of at most ${MAX_ALIGNMENT}`,
    `${alignment}`,
  );
}

async function passValue(cursor: HeaderCursor, type: number): Promise<void> {
  cursor.skip(type === STRING ? await cursor.u64() : fixedValueBytes(cursor, type));
}

/** Arrays of arrays are allowed by the format and written by nobody; readers differ on them. */
async function passArray(cursor: HeaderCursor): Promise<void> {
  const type = await cursor.u32();
  const length = await cursor.u64();
  if (type !== STRING) {
    cursor.skip(length * fixedValueBytes(cursor, type));
    return;
  }
  for (let i = 0; i < length; i += 1) cursor.skip(await cursor.u64());
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
