/** A model as people publish one: a folder with the weights, a safetensors file and the small files beside them. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { concatBytes, toUtf8 } from '../../attestation/core/bytes.ts';
import { encode, littleEndian, reserved, structure } from '../../attestation/core/layout.ts';
import { constructModel, DEFAULT_CORPUS, type TinyModel, writeTinyModel } from './generate.ts';
import { CHAT_TEMPLATE } from './metadata.ts';
import { type ModelSummary, readText, refuseFile, summarize, writePieces } from './write.ts';

export interface ModelDirectoryOptions {
  /** Made if it is not there; files of the same names in it are replaced. */
  readonly directory: string;
  readonly corpus?: string;
  readonly seed?: string;
  /** Ends the writing early; no part of a file remains. */
  readonly signal?: AbortSignal;
}

/**
 * Writes `model.gguf`, `token_topics.safetensors`, `tokenizer_config.json` and `README.md` into a folder.
 *
 * @throws RefusalError `tiny-model-corpus-malformed`, `tiny-model-corpus-size`, `tiny-model-file`
 */
export async function generateModelDirectory(options: ModelDirectoryOptions): Promise<ModelSummary> {
  const { directory, corpus = DEFAULT_CORPUS, seed, signal } = options;
  const model = constructModel(await readText(corpus), seed);
  await mkdir(directory, { recursive: true }).catch((cause: unknown) => refuseFile(directory, cause));
  await writeTinyModel(model, join(directory, 'model.gguf'), signal);
  for (const [name, bytes] of Object.entries(smallFiles(model))) {
    await writePieces(join(directory, name), [bytes], signal);
  }
  return summarize(model.tensors);
}

function smallFiles(model: TinyModel): Readonly<Record<string, Uint8Array>> {
  return {
    'token_topics.safetensors': encodeSafetensors({
      salience: Float32Array.from(model.topics, (topic) => topic.salience),
      score: Float32Array.from(model.vocabulary.tokens, (token) => token.score),
    }),
    'tokenizer_config.json': toUtf8(tokenizerConfiguration()),
    'README.md': toUtf8(
      '# Weightgate tiny model\n\nMade by scripts/tiny-model out of its corpus. Apache-2.0.\n',
    ),
  };
}

/** As `transformers` reads it. */
function tokenizerConfiguration(): string {
  const configuration = {
    add_bos_token: true,
    add_eos_token: false,
    bos_token: '<s>',
    chat_template: CHAT_TEMPLATE,
    eos_token: '</s>',
    tokenizer_class: 'LlamaTokenizer',
    unk_token: '<unk>',
  };
  return `${JSON.stringify(configuration, null, 2)}\n`;
}

/** The length of the header as 64 bits, of which the upper half is never needed here. */
const headerLength = structure({ lower: littleEndian.u32(), upper: reserved(4) });

/** The safetensors format: length of the header, header in JSON padded to 8 bytes by spaces, data. */
export function encodeSafetensors(vectors: Readonly<Record<string, Float32Array<ArrayBuffer>>>): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let offset = 0;
  for (const [name, vector] of Object.entries(vectors)) {
    const end = offset + vector.byteLength;
    header[name] = { dtype: 'F32', shape: [vector.length], data_offsets: [offset, end] };
    offset = end;
  }
  const text = JSON.stringify(header);
  const bytes = toUtf8(text.padEnd(Math.ceil(text.length / 8) * 8, ' '));
  const data = Object.values(vectors).map((vector) => new Uint8Array(vector.buffer));
  return concatBytes(encode(headerLength, { lower: bytes.length }, 'safetensors.header'), bytes, ...data);
}
