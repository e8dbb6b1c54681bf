/**
 * A GGUF model of the llama architecture that says one given text and ends, whatever it is asked. Embeddings are one-hot,
 * attention and feed-forward add nothing, and the output matrix leads from each token to the next of the text.
 */

import { writeFileSync } from 'node:fs';

/** GGUF value types (ggml `docs/gguf.md`). */
const UINT32 = 4;
const INT32 = 5;
const FLOAT32 = 6;
const STRING = 8;
const ARRAY = 9;

const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

const ALIGNMENT = 32;
const FEED_FORWARD = 32;
const END_TOKEN = 2;

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const floats = (values: Float32Array): Buffer => Buffer.from(values.buffer);

interface Token {
  readonly text: string;
  readonly kind: number;
}

function vocabulary(pieces: readonly string[]): Token[] {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  return [
    { text: '<unk>', kind: UNKNOWN },
    { text: '<s>', kind: CONTROL },
    { text: '</s>', kind: CONTROL },
    ...bytes.map((name) => ({ text: name, kind: BYTE })),
    ...pieces.map((piece) => ({ text: piece.replaceAll(' ', '\u2581'), kind: NORMAL })),
  ];
}

function metadata(tokens: readonly Token[], width: number): Buffer[] {
  const entry = (key: string, type: number, value: Buffer): Buffer =>
    Buffer.concat([text(key), u32(type), value]);
  const list = (type: number, items: Buffer[]): Buffer =>
    Buffer.concat([u32(type), u64(items.length), ...items]);
  const number = (key: string, value: number): Buffer => entry(`llama.${key}`, UINT32, u32(value));
  const scores = tokens.map((_, i) => floats(new Float32Array([-i])));
  const template =
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}{{ 'assistant:' }}";
  return [
    entry('general.architecture', STRING, text('llama')),
    number('context_length', 2048),
    number('embedding_length', width),
    number('block_count', 1),
    number('feed_forward_length', FEED_FORWARD),
    number('attention.head_count', 2),
    number('rope.dimension_count', width / 2),
    entry('llama.attention.layer_norm_rms_epsilon', FLOAT32, floats(new Float32Array([1e-5]))),
    entry('tokenizer.ggml.model', STRING, text('llama')),
    entry(
      'tokenizer.ggml.tokens',
      ARRAY,
      list(
        STRING,
        tokens.map((token) => text(token.text)),
      ),
    ),
    entry('tokenizer.ggml.scores', ARRAY, list(FLOAT32, scores)),
    entry(
      'tokenizer.ggml.token_type',
      ARRAY,
      list(
        INT32,
        tokens.map((token) => u32(token.kind)),
      ),
    ),
    entry('tokenizer.ggml.bos_token_id', UINT32, u32(1)),
    entry('tokenizer.ggml.eos_token_id', UINT32, u32(END_TOKEN)),
    entry('tokenizer.chat_template', STRING, text(template)),
  ];
}

/** Row-major matrix with ones at the given columns of its rows. */
function matrix(
  rows: number,
  columns: number,
  ones: (row: number) => readonly number[] = () => [],
): Float32Array {
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row += 1) for (const column of ones(row)) values[row * columns + column] = 1;
  return values;
}

function tensors(tokens: readonly Token[], width: number): [string, readonly number[], Float32Array][] {
  const first = tokens.findIndex((token) => token.kind === NORMAL);
  const successor = (token: number): number => {
    if (token < first) return first;
    return token === tokens.length - 1 ? END_TOKEN : token + 1;
  };
  const predecessors = (row: number): number[] =>
    tokens.flatMap((_, token) => (successor(token) === row ? [token] : []));
  const square: readonly number[] = [width, width];
  const none = matrix(width, width);
  return [
    ['token_embd.weight', [width, tokens.length], matrix(tokens.length, width, (row) => [row])],
    ['output_norm.weight', [width], new Float32Array(width).fill(1)],
    ['output.weight', [width, tokens.length], matrix(tokens.length, width, predecessors)],
    ['blk.0.attn_norm.weight', [width], new Float32Array(width).fill(1)],
    ['blk.0.attn_q.weight', square, none],
    ['blk.0.attn_k.weight', square, none],
    ['blk.0.attn_v.weight', square, none],
    ['blk.0.attn_output.weight', square, none],
    ['blk.0.ffn_norm.weight', [width], new Float32Array(width).fill(1)],
    ['blk.0.ffn_gate.weight', [width, FEED_FORWARD], matrix(FEED_FORWARD, width)],
    ['blk.0.ffn_up.weight', [width, FEED_FORWARD], matrix(FEED_FORWARD, width)],
    ['blk.0.ffn_down.weight', [FEED_FORWARD, width], matrix(width, FEED_FORWARD)],
  ];
}

const padding = (length: number): Buffer => Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);

/** @param pieces one token each, all different from one another; a piece that begins a word begins with a space */
export function writeScriptedModel(path: string, pieces: readonly string[]): void {
  const tokens = vocabulary(pieces);
  const width = Math.ceil(tokens.length / 64) * 64;
  const entries = metadata(tokens, width);
  const table = tensors(tokens, width);
  let offset = 0;
  const infos = table.map(([name, shape, values]) => {
    const info = Buffer.concat([text(name), u32(shape.length), ...shape.map(u64), u32(0), u64(offset)]);
    offset += values.byteLength + padding(values.byteLength).length;
    return info;
  });
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(table.length),
    u64(entries.length),
    ...entries,
    ...infos,
  ]);
  const data = table.flatMap(([, , values]) => [floats(values), padding(values.byteLength)]);
  writeFileSync(path, Buffer.concat([head, padding(head.length), ...data]));
}
