/** A model of any size with random weights: it says nothing, at the speed of a real model. For benchmarks. */

import { createCipheriv, createHash } from 'node:crypto';

import { Q8_0_BLOCK_BYTES, tensorBytes, type TensorShape } from './gguf.ts';
import { modelMetadata, type ModelShape } from './metadata.ts';
import { tinyModelUsage } from './refusals.ts';
import type { Token } from './tokenizer.ts';
import { ggufPieces, type ModelSummary, summarize, writePieces } from './write.ts';

const MINIMUM_PARAMETERS = 1e6;
const MAXIMUM_PARAMETERS = 1e12;
const HEAD_WIDTH = 64;
/** Widths are multiples of this, so that every row is whole blocks. */
const WIDTH_STEP = 256;
/** Widths of the llama family: a layer for every 64 of width, a hidden layer of about 8/3 of it. */
const WIDTH_PER_LAYER = 64;
const HIDDEN_RATIO = 8 / 3;
const PIECE_BLOCKS = 1 << 15;

export interface RandomModelOptions {
  readonly out: string;
  /** The model has about so many; whole layers are not cut. */
  readonly parameters: number;
  readonly seed: string;
  readonly tokens: readonly Token[];
  /** Ends the writing early; no part of a file remains. */
  readonly signal?: AbortSignal;
}

/**
 * Writes a model of about so many parameters in Q8_0, never holding more of it than a piece.
 *
 * @throws RefusalError `tiny-model-parameters`, `tiny-model-file`
 */
export async function generateRandomModel(options: RandomModelOptions): Promise<ModelSummary> {
  const shape = shapeFor(options.parameters, options.tokens.length);
  const tensors = tensorsOf(shape, options.tokens.length);
  const data = (tensor: TensorShape): Iterable<Uint8Array> => randomPieces(tensor, options.seed);
  const pieces = ggufPieces(modelMetadata(shape, options.tokens), tensors, data);
  await writePieces(options.out, pieces, options.signal);
  return summarize(tensors);
}

function shapeFor(parameters: number, tokens: number): ModelShape {
  if (
    !Number.isSafeInteger(parameters) ||
    parameters < MINIMUM_PARAMETERS ||
    parameters > MAXIMUM_PARAMETERS
  ) {
    throw tinyModelUsage.error('tiny-model-parameters', {
      field: 'parameters',
      expected: `a whole number from ${MINIMUM_PARAMETERS} to ${MAXIMUM_PARAMETERS}`,
      found: String(parameters),
    });
  }
  const squaresPerLayer = 4 + 3 * HIDDEN_RATIO;
  const ideal = Math.cbrt((parameters * WIDTH_PER_LAYER) / squaresPerLayer);
  const width = Math.max(WIDTH_STEP, Math.round(ideal / WIDTH_STEP) * WIDTH_STEP);
  const hiddenWidth = Math.round((width * HIDDEN_RATIO) / WIDTH_STEP) * WIDTH_STEP;
  const perLayer = 4 * width * width + 3 * width * hiddenWidth;
  return {
    name: 'Random weights',
    layers: Math.max(1, Math.round((parameters - 2 * tokens * width) / perLayer)),
    width,
    hiddenWidth,
    heads: width / HEAD_WIDTH,
    contextTokens: 4096,
    ropeBase: 10_000,
  };
}

function tensorsOf(shape: ModelShape, tokens: number): readonly TensorShape[] {
  const { width, hiddenWidth } = shape;
  const matrix = (name: string, rows: number, columns: number): TensorShape => {
    return { name: `${name}.weight`, type: 'q8_0', rows, columns };
  };
  const norm = (name: string): TensorShape => ({
    name: `${name}.weight`,
    type: 'f32',
    rows: 1,
    columns: width,
  });
  const layers = Array.from({ length: shape.layers }, (_, layer) => `blk.${layer}`).flatMap((block) => [
    norm(`${block}.attn_norm`),
    ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) => matrix(`${block}.${name}`, width, width)),
    norm(`${block}.ffn_norm`),
    matrix(`${block}.ffn_gate`, hiddenWidth, width),
    matrix(`${block}.ffn_up`, hiddenWidth, width),
    matrix(`${block}.ffn_down`, width, hiddenWidth),
  ]);
  return [
    matrix('token_embd', tokens, width),
    ...layers,
    norm('output_norm'),
    matrix('output', tokens, width),
  ];
}

function* randomPieces(tensor: TensorShape, seed: string): Generator<Uint8Array> {
  switch (tensor.type) {
    case 'f32':
      yield new Uint8Array(new Float32Array(tensor.columns).fill(1).buffer);
      return;
    case 'q8_0':
      yield* randomBlocks(tensor, seed);
  }
}

/** AES in counter mode over zeros is the fastest generator at hand, and the same on every machine. */
function* randomBlocks(tensor: TensorShape, seed: string): Generator<Uint8Array> {
  const key = createHash('sha256').update(`${seed}/${tensor.name}`).digest();
  const stream = createCipheriv('aes-256-ctr', key, new Uint8Array(16));
  const zeros = new Uint8Array(PIECE_BLOCKS * Q8_0_BLOCK_BYTES);
  const scale = blockScale(tensor.columns);
  let left = tensorBytes(tensor);
  while (left > 0) {
    const piece = stream.update(zeros.subarray(0, Math.min(left, zeros.length)));
    for (let at = 0; at < piece.length; at += Q8_0_BLOCK_BYTES) piece.set(scale, at);
    left -= piece.length;
    yield piece;
  }
}

/** The F16 scale under which uniform signed bytes have the variance 1 / columns, as initial weights have. */
function blockScale(columns: number): Uint8Array {
  const deviationOfBytes = 256 / Math.sqrt(12);
  const bytes = new DataView(new ArrayBuffer(2));
  bytes.setFloat16(0, 1 / (deviationOfBytes * Math.sqrt(columns)), true);
  return new Uint8Array(bytes.buffer);
}
