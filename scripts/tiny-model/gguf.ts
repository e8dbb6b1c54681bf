/** GGUF version 3 as llama.cpp reads it (ggml/docs/gguf.md): header, metadata, tensor table, aligned tensor data. */

import { concatBytes, toUtf8 } from '../../attestation/core/bytes.ts';
import {
  constantBytes,
  counted,
  dependent,
  encode,
  fixedBytes,
  type Layout,
  littleEndian as le,
  type Members,
  refuseTag,
  remainingBytes,
  structure,
} from '../../attestation/core/layout.ts';

const MAGIC = toUtf8('GGUF');
const VERSION = 3;
/** Tensor data and every tensor in it begin at multiples of this many bytes (`general.alignment`). */
const ALIGNMENT = 32;
/** A tensor has at most so many dimensions (`GGML_MAX_DIMS`). */
const MAXIMUM_DIMENSIONS = 4;

/** Metadata value types of GGUF that are written here. */
const VALUE_TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

/** Tensor types of ggml that are written here. */
export const TENSOR_TYPE = { f32: 0, q8_0: 8 } as const;
export type TensorType = keyof typeof TENSOR_TYPE;

const header = structure({
  magic: constantBytes(MAGIC),
  version: le.u32({ oneOf: [VERSION] }),
  tensors: le.u64(),
  metadata: le.u64(),
});

const text = structure({
  length: le.u64(),
  bytes: dependent((members) => fixedBytes(Number(members['length']))),
});

const array = structure({ elementType: le.u32(), length: le.u64(), elements: remainingBytes() });

function valueLayout(members: Members, path: string): Layout<unknown> {
  switch (members['type']) {
    case VALUE_TYPE.string:
      return text;
    case VALUE_TYPE.array:
      return array;
    case VALUE_TYPE.bool:
      return fixedBytes(1);
    case VALUE_TYPE.u32:
    case VALUE_TYPE.f32:
      return fixedBytes(4);
    default:
      return refuseTag(path, Object.values(VALUE_TYPE), members['type']);
  }
}

const metadataEntry = structure({ key: text, type: le.u32(), value: dependent(valueLayout) });

const tensorEntry = structure({
  name: text,
  dimensions: counted(le.u32({ max: MAXIMUM_DIMENSIONS }), le.u64()),
  type: le.u32({ oneOf: Object.values(TENSOR_TYPE) }),
  offset: le.u64(),
});

function textValue(value: string): { length: bigint; bytes: Uint8Array } {
  const bytes = toUtf8(value);
  return { length: BigInt(bytes.length), bytes };
}

/** One value of the metadata, with the type that llama.cpp expects at its key. */
export interface MetadataValue {
  readonly type: number;
  readonly value: unknown;
}

export function u32(value: number): MetadataValue {
  return { type: VALUE_TYPE.u32, value: new Uint8Array(Uint32Array.of(value).buffer) };
}

export function f32(value: number): MetadataValue {
  return { type: VALUE_TYPE.f32, value: new Uint8Array(Float32Array.of(value).buffer) };
}

export function bool(value: boolean): MetadataValue {
  return { type: VALUE_TYPE.bool, value: Uint8Array.of(value ? 1 : 0) };
}

export function string(value: string): MetadataValue {
  return { type: VALUE_TYPE.string, value: textValue(value) };
}

export function strings(values: readonly string[]): MetadataValue {
  const elements = values.map((value) => encode(text, textValue(value), 'string'));
  return arrayValue(VALUE_TYPE.string, values.length, concatBytes(...elements));
}

export function f32s(values: readonly number[]): MetadataValue {
  return arrayValue(VALUE_TYPE.f32, values.length, new Uint8Array(Float32Array.from(values).buffer));
}

export function i32s(values: readonly number[]): MetadataValue {
  return arrayValue(VALUE_TYPE.i32, values.length, new Uint8Array(Int32Array.from(values).buffer));
}

function arrayValue(elementType: number, length: number, elements: Uint8Array): MetadataValue {
  return { type: VALUE_TYPE.array, value: { elementType, length: BigInt(length), elements } };
}

/** A tensor's place in the file. */
export interface TensorShape {
  readonly name: string;
  readonly type: TensorType;
  readonly rows: number;
  /** Values in a row; a multiple of 32 for `q8_0`. */
  readonly columns: number;
}

/** A block of `q8_0` is an F16 scale and 32 signed bytes. */
export const Q8_0_BLOCK_VALUES = 32;
export const Q8_0_BLOCK_BYTES = 34;

export function rowBytes(shape: TensorShape): number {
  switch (shape.type) {
    case 'f32':
      return shape.columns * 4;
    case 'q8_0':
      return (shape.columns / Q8_0_BLOCK_VALUES) * Q8_0_BLOCK_BYTES;
  }
}

export function tensorBytes(shape: TensorShape): number {
  return shape.rows * rowBytes(shape);
}

/** Zero bytes from a length to the next aligned place. */
export function padding(length: number): Uint8Array {
  return new Uint8Array((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
}

/**
 * Everything that stands before the tensor data, padded to the alignment. The data follow in the order of `tensors`,
 * each tensor with its own `padding`.
 */
export function encodePreamble(
  metadata: Readonly<Record<string, MetadataValue>>,
  tensors: readonly TensorShape[],
): Uint8Array {
  const entries = Object.entries(metadata);
  const counts = { tensors: BigInt(tensors.length), metadata: BigInt(entries.length) };
  const preamble = concatBytes(
    encode(header, { magic: MAGIC, version: VERSION, ...counts }, 'gguf'),
    ...entries.map(([key, value]) => encode(metadataEntry, { key: textValue(key), ...value }, `gguf.${key}`)),
    ...encodeTensorTable(tensors),
  );
  return concatBytes(preamble, padding(preamble.length));
}

function encodeTensorTable(tensors: readonly TensorShape[]): readonly Uint8Array[] {
  let offset = 0;
  return tensors.map((shape) => {
    const entry = {
      name: textValue(shape.name),
      // A row is the fastest dimension; a tensor of one row is a vector.
      dimensions: shape.rows === 1 ? [BigInt(shape.columns)] : [BigInt(shape.columns), BigInt(shape.rows)],
      type: TENSOR_TYPE[shape.type],
      offset: BigInt(offset),
    };
    const bytes = tensorBytes(shape);
    offset += bytes + padding(bytes).length;
    return encode(tensorEntry, entry, `gguf.${shape.name}`);
  });
}
