/** The metadata by which llama.cpp knows a llama model and its tokenizer. */

import { bool, f32, f32s, i32s, type MetadataValue, string, strings, u32 } from './gguf.ts';
import { SPECIAL, type Token } from './tokenizer.ts';

/** A conversation is its turns between markers. There is no way to instruct this model, so a system turn is left out. */
export const CHAT_TEMPLATE = [
  '{{ bos_token }}',
  "{% for message in messages %}{% if message['role'] == 'user' %}",
  "{{ '<|user|> ' + message['content'] }}",
  "{% elif message['role'] == 'assistant' %}",
  "{{ '<|assistant|>' + message['content'] + eos_token }}",
  '{% endif %}{% endfor %}',
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
].join('');

/** `general.file_type` of a file whose matrices are Q8_0 (llama.h, LLAMA_FTYPE_MOSTLY_Q8_0). */
const FILE_TYPE_Q8_0 = 7;

/** The shape of a llama transformer without grouped queries. Widths are counted in values. */
export interface ModelShape {
  readonly name: string;
  readonly layers: number;
  readonly width: number;
  readonly hiddenWidth: number;
  readonly heads: number;
  readonly contextTokens: number;
  readonly ropeBase: number;
}

export function modelMetadata(
  shape: ModelShape,
  tokens: readonly Token[],
): Readonly<Record<string, MetadataValue>> {
  return { ...architecture(shape, tokens.length), ...tokenizer(tokens) };
}

function architecture(shape: ModelShape, tokens: number): Readonly<Record<string, MetadataValue>> {
  return {
    'general.architecture': string('llama'),
    'general.name': string(shape.name),
    'general.license': string('Apache-2.0'),
    'general.file_type': u32(FILE_TYPE_Q8_0),
    'general.quantization_version': u32(2),
    'llama.block_count': u32(shape.layers),
    'llama.context_length': u32(shape.contextTokens),
    'llama.embedding_length': u32(shape.width),
    'llama.feed_forward_length': u32(shape.hiddenWidth),
    'llama.attention.head_count': u32(shape.heads),
    'llama.attention.head_count_kv': u32(shape.heads),
    'llama.attention.layer_norm_rms_epsilon': f32(1e-5),
    'llama.rope.dimension_count': u32(shape.width / shape.heads),
    'llama.rope.freq_base': f32(shape.ropeBase),
    'llama.vocab_size': u32(tokens),
  };
}

function tokenizer(tokens: readonly Token[]): Readonly<Record<string, MetadataValue>> {
  return {
    'tokenizer.ggml.model': string('llama'),
    'tokenizer.ggml.tokens': strings(tokens.map((token) => token.text)),
    'tokenizer.ggml.scores': f32s(tokens.map((token) => token.score)),
    'tokenizer.ggml.token_type': i32s(tokens.map((token) => token.type)),
    'tokenizer.ggml.unknown_token_id': u32(SPECIAL.unknown),
    'tokenizer.ggml.bos_token_id': u32(SPECIAL.begin),
    'tokenizer.ggml.eos_token_id': u32(SPECIAL.end),
    'tokenizer.ggml.add_bos_token': bool(true),
    'tokenizer.ggml.add_eos_token': bool(false),
    'tokenizer.ggml.add_space_prefix': bool(false),
    'tokenizer.chat_template': string(CHAT_TEMPLATE),
  };
}
