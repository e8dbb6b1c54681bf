/**
 * A strict reader of safetensors headers (huggingface/safetensors, README "Format"): 8 bytes of length, a JSON object,
 * then the tensors without a gap.
 */

import { z } from 'zod';

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import { parseForeignJson, type ForeignJsonProblem } from '../../attestation/core/foreign-json.ts';
import { decode, littleEndian } from '../../attestation/core/layout.ts';
import { readShape } from '../platform/shape.ts';
import { checkCoverage, refuseWeights, type ReadRange, type TensorEntry } from './tensors.ts';

/** SW-25. */
const MAX_HEADER_BYTES = 16 * 1024 * 1024;
const LENGTH_BYTES = 8;
const METADATA = '__metadata__';
/** The header, a tensor, its shape. */
const HEADER_DEPTH = 3;

/** Bits of one element. */
const ELEMENT_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  F64: 64,
  I64: 64,
  U64: 64,
  C64: 64,
};

const sizeSchema = z.int().min(0);
const tensorSchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(sizeSchema).max(32),
  data_offsets: z.tuple([sizeSchema, sizeSchema]),
});
const metadataSchema = z.record(z.string(), z.string());

/**
 * Reads the header and checks that its tensors are the whole rest of the file.
 *
 * @param path for refusals
 * @param fileBytes size of the file
 * @throws RefusalError `weights-*`, `shape-mismatch`, `utf8-malformed`
 */
export async function readSafetensors(
  path: string,
  fileBytes: number,
  read: ReadRange,
): Promise<readonly TensorEntry[]> {
  if (fileBytes < LENGTH_BYTES) {
    refuseWeights('weights-header-malformed', path, 'at least 8 bytes', `${fileBytes} bytes`);
  }
  const headerBytes = decode(littleEndian.u64(), await read(0, LENGTH_BYTES), `${path}:length`);
  const most = Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES);
  if (headerBytes > BigInt(most)) {
    refuseWeights('weights-header-too-large', path, `at most ${most} bytes`, `${headerBytes} bytes`);
  }
  const text = fromUtf8(await read(LENGTH_BYTES, Number(headerBytes)), path);
  const dataStart = LENGTH_BYTES + Number(headerBytes);
  const tensors = parseHeader(path, text, dataStart);
  checkCoverage(path, tensors, { dataStart, fileBytes, alignment: 1 });
  return tensors;
}

function parseHeader(path: string, text: string, dataStart: number): readonly TensorEntry[] {
  return Object.entries(parseObject(path, text)).flatMap(([name, value]) => {
    const field = `${path}:${name}`;
    if (name === METADATA) {
      readShape(metadataSchema, value, field);
      return [];
    }
    return [tensorEntry(name, field, readShape(tensorSchema, value, field), dataStart)];
  });
}

function tensorEntry(
  name: string,
  field: string,
  { dtype, shape, data_offsets: [begin, end] }: z.infer<typeof tensorSchema>,
  dataStart: number,
): TensorEntry {
  const bytes = tensorBytes(field, dtype, shape);
  if (end - begin !== bytes) {
    refuseWeights('weights-tensor-malformed', field, `${bytes} bytes by its shape`, `${end - begin} bytes`);
  }
  return { name, type: dtype, shape, offset: dataStart + begin, bytes };
}

function tensorBytes(field: string, dtype: string, shape: readonly number[]): number {
  const bits = Object.hasOwn(ELEMENT_BITS, dtype) ? ELEMENT_BITS[dtype] : undefined;
  if (bits === undefined)
    return refuseWeights('weights-tensor-malformed', field, 'a known type', dtype.slice(0, 16));
  const bytes = shape.reduce((product, size) => product * size, bits) / 8;
  if (Number.isSafeInteger(bytes)) return bytes;
  return refuseWeights('weights-tensor-malformed', field, 'whole bytes below 2^53', 'another size');
}

/** The format asks for `{` at the very start and allows spaces alone after the object. */
function parseObject(path: string, text: string): object {
  if (!text.startsWith('{') || !/^\} *$/.test(text.slice(text.lastIndexOf('}')))) {
    refuseWeights('weights-header-malformed', path, 'an object, then only spaces', 'something else');
  }
  const parsed = parseForeignJson(text, HEADER_DEPTH);
  if (parsed.problem !== undefined) return refuseHeader(path, parsed.problem);
  if (parsed.hasPlainNumbers) return parsed.value as object;
  return refuseWeights('weights-header-malformed', path, 'numbers as digits alone', 'another spelling');
}

function refuseHeader(path: string, problem: ForeignJsonProblem): never {
  switch (problem) {
    case 'duplicate-member':
      return refuseWeights('weights-duplicate-name', path, 'every name once', 'a name a second time');
    case 'too-deep':
      return refuseWeights('weights-header-malformed', path, `at most ${HEADER_DEPTH} levels`, 'more');
    case 'not-json':
      return refuseWeights('weights-header-malformed', path, 'JSON', 'text that does not parse');
  }
}
